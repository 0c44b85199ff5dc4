// SPDX-License-Identifier: GPL-2.0

//! Time stamps for sockets, as the user switches them on and off (`SIOCSHWTSTAMP`, or
//! `ETHTOOL_MSG_TSCONFIG_SET` by netlink).
//!
//! All stamps of the card are of one clock, `CLOCK_TAI` of the kernel: those for sockets, those for
//! programs (`RxHints`) and those of AF_XDP sockets. A received frame has the stamp in its
//! completion, if the card takes stamps ([`RxMetadata::TIMESTAMP`]), and `RxContext::describe`
//! copies it to the skb. [`Vsi::xmit`] reports the time of sending.
//!
//! [`RxMetadata::TIMESTAMP`]: crate::card::rx::RxMetadata::TIMESTAMP

use super::vsi::Vsi;
use crate::net::{
    device::LockedDevice,
    ethtool::TsInfo,
    hwtstamp::{
        Config,
        RxFilter,
        TxType, //
    },
    rtnl::ExtAck, //
};
use core::sync::atomic::Ordering;
use kernel::prelude::*;

/// What there is to choose from.
pub(super) const INFO: TsInfo = TsInfo {
    tx_types: &[TxType::Off, TxType::On],
    rx_filters: &[RxFilter::None, RxFilter::All],
    phc_index: None,
};

impl Vsi {
    pub(crate) fn get_hwtstamp(&self) -> Config {
        let settings = &self.settings.hwtstamp;
        Config {
            tx_type: if settings.tx.load(Ordering::Relaxed) {
                TxType::On
            } else {
                TxType::Off
            },
            rx_filter: if settings.rx.load(Ordering::Relaxed) {
                RxFilter::All
            } else {
                RxFilter::None
            },
        }
    }

    /// The card takes stamps of all received frames or of none, so any filter becomes that for all.
    /// A port that is down keeps the setting for when it goes up.
    pub(crate) fn change_hwtstamp(
        &self,
        dev: &LockedDevice,
        new: Config,
        extack: ExtAck<'_>,
    ) -> Result<Config> {
        let tx = match new.tx_type {
            TxType::Off => false,
            TxType::On => true,
            TxType::OneStepSync | TxType::OneStepP2p => {
                extack.set(fmt!("one-step time stamps not supported"));
                return Err(ERANGE);
            }
        };
        let settings = &self.settings.hwtstamp;
        settings.tx.store(tx, Ordering::Relaxed);
        settings
            .rx
            .store(new.rx_filter != RxFilter::None, Ordering::Relaxed);
        let prog = self.xdp_prog.get();
        let meta = self.rx_metadata(prog.as_deref(), dev.features());
        self.port.for_each_running(|hw| hw.meta = meta);
        Ok(self.get_hwtstamp())
    }
}
