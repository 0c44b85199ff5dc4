// SPDX-License-Identifier: GPL-2.0

//! A receive ring: its queue of the card, its program and its counters.

use crate::{
    card::{
        rx::RxHwQueue,
        stats::counters, //
    },
    net::{
        skbuff::VlanTag,
        xdp::{
            self,
            ProgSlot,
            RssType,
            RxHints, //
        },
    },
    nic::{
        cache::CacheAligned,
        completion::Completion,
        counter::Counter,
        rss::HashType, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A received frame during a poll.
pub(crate) type Buff<'w, 'q> = xdp::Buff<'w, 'q, &'q Completion>;

counters! {
    /// The counters of a receive ring's poll. A frame on which a program ran is in exactly one of
    /// the `xdp_…` counters.
    RxStats: Counter {
        /// Frames taken off the ring, including those that XDP consumed.
        packets,
        /// Their bytes, without the frame check sequence.
        bytes,
        /// Frames among them with more than one buffer.
        multi_buffer,
        /// Frames with the verdict XDP_PASS.
        xdp_pass,
        /// Frames with the verdict XDP_DROP.
        xdp_drop,
        /// Frames with the verdict XDP_TX that were sent.
        xdp_tx,
        /// Their bytes as sent, without the frame check sequence.
        xdp_tx_bytes,
        /// Frames with the verdict XDP_TX that were lost: the peer was down.
        xdp_tx_errors,
        /// Frames with the verdict XDP_REDIRECT that their target accepted.
        xdp_redirect,
        /// Frames with the verdict XDP_REDIRECT that were lost.
        xdp_redirect_errors,
        /// Frames lost with the verdict XDP_ABORTED.
        xdp_aborted,
        /// Frames lost because the program returned no valid verdict.
        xdp_unknown,
        /// Multi-buffer frames lost because the program has no frags support.
        xdp_no_frags,
        /// Frames for the stack lost because there was no memory for an skb.
        skb_alloc_fail,
        /// Refills cut short because there was no memory for a buffer. This loses no frame.
        buf_alloc_fail,
        /// Frames that were in the ring when the port went down.
        down,
    }
}

/// A receive ring: the part that stays while the interface is down.
pub(crate) struct RxRing {
    /// The queue of the card that fills it.
    pub(crate) hw_queue: Arc<RxHwQueue>,
    /// The program that the ring's poll runs.
    pub(crate) xdp_prog: ProgSlot,
    /// The counters, some of them written per frame: on cache lines of their own.
    pub(crate) stats: CacheAligned<RxStats>,
}

impl RxRing {
    /// The ring of this queue, down and without a program.
    pub(crate) fn new(hw_queue: &Arc<RxHwQueue>) -> Result<Arc<Self>> {
        let ring = Self {
            hw_queue: hw_queue.clone(),
            xdp_prog: ProgSlot::new(),
            stats: CacheAligned::default(),
        };
        Ok(Arc::new(ring, GFP_KERNEL)?)
    }

    /// Number of the receive queue.
    #[inline]
    pub(crate) fn index(&self) -> u16 {
        self.hw_queue.index
    }
}

impl xdp::RxDescriptor for &Completion {
    fn hints(&self) -> RxHints {
        let hash = self.hash();
        RxHints {
            timestamp: self.timestamp(),
            hash: hash.value,
            rss_type: match hash.kind {
                HashType::None => RssType::None,
                HashType::Ipv4 => RssType::Ipv4,
                HashType::Ipv6 => RssType::Ipv6,
                HashType::TcpIpv4 => RssType::TcpIpv4,
                HashType::UdpIpv4 => RssType::UdpIpv4,
                HashType::TcpIpv6 => RssType::TcpIpv6,
                HashType::UdpIpv6 => RssType::UdpIpv6,
            },
            vlan: self.vlan().map(|tag| VlanTag {
                protocol: tag.protocol.ethertype(),
                tci: tag.tci,
            }),
        }
    }
}
