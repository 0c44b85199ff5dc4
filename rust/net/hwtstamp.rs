// SPDX-License-Identifier: GPL-2.0

//! Hardware time stamps for sockets (`SO_TIMESTAMPING`): which frames a device takes them of.
//!
//! C headers: [`include/linux/net_tstamp.h`](srctree/include/linux/net_tstamp.h),
//! [`include/uapi/linux/net_tstamp.h`](srctree/include/uapi/linux/net_tstamp.h)

use crate::bindings;
use kernel::prelude::*;

/// An enumeration of the kernel's, with all of its values.
macro_rules! c_enum {
    (
        $(#[$doc:meta])*
        $name:ident: $count:literal {
            $($(#[$value_doc:meta])* $value:ident = $number:ident,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub(crate) enum $name {
            $($(#[$value_doc])* $value = bindings::$number,)*
        }

        impl $name {
            const EACH: [Self; $count] = [$(Self::$value,)*];

            /// The value with this number. [`None`] for one that the kernel has added since.
            fn from_number(number: c_int) -> Option<Self> {
                Self::EACH.into_iter().find(|value| value.number() == number)
            }

            fn number(self) -> c_int {
                self as c_int
            }

            /// The bit of this value in a mask.
            pub(super) fn bit(self) -> u32 {
                1 << self.number()
            }
        }
    };
}

c_enum! {
    /// Which frames that sockets send get a time stamp (`enum hwtstamp_tx_types`).
    TxType: 4 {
        /// None.
        Off = hwtstamp_tx_types_HWTSTAMP_TX_OFF,
        /// Those whose sender asks for one, which it reads from the error queue of its socket.
        On = hwtstamp_tx_types_HWTSTAMP_TX_ON,
        /// As [`On`](Self::On); but Sync messages of PTP get it written into them.
        OneStepSync = hwtstamp_tx_types_HWTSTAMP_TX_ONESTEP_SYNC,
        /// As [`OneStepSync`](Self::OneStepSync), and so do answers to requests for the delay.
        OneStepP2p = hwtstamp_tx_types_HWTSTAMP_TX_ONESTEP_P2P,
    }
}

c_enum! {
    /// Which received frames get a time stamp (`enum hwtstamp_rx_filters`).
    RxFilter: 16 {
        /// None.
        None = hwtstamp_rx_filters_HWTSTAMP_FILTER_NONE,
        /// All.
        All = hwtstamp_rx_filters_HWTSTAMP_FILTER_ALL,
        /// Those that were asked for, and some others. An answer of drivers.
        Some = hwtstamp_rx_filters_HWTSTAMP_FILTER_SOME,
        /// PTP v1 over UDP: all events.
        PtpV1L4Event = hwtstamp_rx_filters_HWTSTAMP_FILTER_PTP_V1_L4_EVENT,
        /// PTP v1 over UDP: Sync.
        PtpV1L4Sync = hwtstamp_rx_filters_HWTSTAMP_FILTER_PTP_V1_L4_SYNC,
        /// PTP v1 over UDP: Delay_Req.
        PtpV1L4DelayReq = hwtstamp_rx_filters_HWTSTAMP_FILTER_PTP_V1_L4_DELAY_REQ,
        /// PTP v2 over UDP: all events.
        PtpV2L4Event = hwtstamp_rx_filters_HWTSTAMP_FILTER_PTP_V2_L4_EVENT,
        /// PTP v2 over UDP: Sync.
        PtpV2L4Sync = hwtstamp_rx_filters_HWTSTAMP_FILTER_PTP_V2_L4_SYNC,
        /// PTP v2 over UDP: Delay_Req.
        PtpV2L4DelayReq = hwtstamp_rx_filters_HWTSTAMP_FILTER_PTP_V2_L4_DELAY_REQ,
        /// PTP v2 directly over Ethernet: all events.
        PtpV2L2Event = hwtstamp_rx_filters_HWTSTAMP_FILTER_PTP_V2_L2_EVENT,
        /// PTP v2 directly over Ethernet: Sync.
        PtpV2L2Sync = hwtstamp_rx_filters_HWTSTAMP_FILTER_PTP_V2_L2_SYNC,
        /// PTP v2 directly over Ethernet: Delay_Req.
        PtpV2L2DelayReq = hwtstamp_rx_filters_HWTSTAMP_FILTER_PTP_V2_L2_DELAY_REQ,
        /// PTP v2: all events.
        PtpV2Event = hwtstamp_rx_filters_HWTSTAMP_FILTER_PTP_V2_EVENT,
        /// PTP v2: Sync.
        PtpV2Sync = hwtstamp_rx_filters_HWTSTAMP_FILTER_PTP_V2_SYNC,
        /// PTP v2: Delay_Req.
        PtpV2DelayReq = hwtstamp_rx_filters_HWTSTAMP_FILTER_PTP_V2_DELAY_REQ,
        /// NTP.
        NtpAll = hwtstamp_rx_filters_HWTSTAMP_FILTER_NTP_ALL,
    }
}

/// Which frames get a hardware time stamp (`struct kernel_hwtstamp_config`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Config {
    /// Frames that sockets send.
    pub(crate) tx_type: TxType,
    /// Received frames.
    pub(crate) rx_filter: RxFilter,
}

impl Config {
    /// What the user wants. [`None`] if that has a value that was added to the kernel later.
    pub(super) fn from_raw(raw: &bindings::kernel_hwtstamp_config) -> Option<Self> {
        Some(Self {
            tx_type: TxType::from_number(raw.tx_type)?,
            rx_filter: RxFilter::from_number(raw.rx_filter)?,
        })
    }

    /// Tells the user what is in effect. The flags, which are about bonds, stay as they are.
    pub(super) fn write_to(self, raw: &mut bindings::kernel_hwtstamp_config) {
        raw.tx_type = self.tx_type.number();
        raw.rx_filter = self.rx_filter.number();
    }
}
