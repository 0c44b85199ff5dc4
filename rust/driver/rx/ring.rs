// SPDX-License-Identifier: GPL-2.0

//! A receive ring: its queue of the card, its program and its counters.

use crate::{
    card::{
        port::{
            Peer,
            Port, //
        },
        rx::RxHwQueue,
        stats::counters, //
    },
    driver::settings::Settings,
    net::{
        skbuff::VlanTag,
        xdp::{
            self,
            ProgSlot,
            RssType,
            RxHints, //
        },
        xsk, //
    },
    nic::{
        cache::CacheAligned,
        completion::Completion,
        counter::Counter,
        rss::HashType, //
    },
};
use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

counters! {
    /// The counters of a receive ring's poll. A frame on which a program ran is in exactly one of
    /// the `xdp_…` counters, or in `xsk_frags_invalid`.
    RxStats: Counter {
        /// Frames taken off the ring, including those that XDP consumed.
        packets,
        /// Their bytes, without the frame check sequence.
        bytes,
        /// Frames among them with more than one buffer.
        multi_buffer,
        /// TCP segments among them that were added to the skb of the segment before them.
        segments_merged,
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
        /// Frames received into the umem of AF_XDP sockets.
        xsk_packets,
        /// Multi-buffer frames lost because user space has damaged them: a buffer was in the fill
        /// ring twice, or the list of buffers was changed while a program ran.
        xsk_frags_invalid,
        /// Refills cut short because the fill ring had too few buffers.
        xsk_fill_empty,
    }
}

counters! {
    /// The counters of frames that AF_XDP sockets send in zero-copy mode, which the poll of the
    /// receive ring with the same number sends.
    XskTxStats: Counter {
        /// Frames sent, received by the peer or not.
        xsk_packets,
        /// Their bytes, without the frame check sequence.
        xsk_bytes,
        /// Frames lost: a port was down, or the frame or its metadata was invalid.
        xsk_errors,
    }
}

/// The parameters of a new ring.
#[derive(Clone, Copy)]
pub(crate) struct RingConfig<'a> {
    pub(crate) settings: &'a Arc<Settings>,
    pub(crate) port: &'a Arc<Port>,
    pub(crate) peer: &'a Arc<Peer>,
    /// Number of descriptors.
    pub(crate) size: u32,
}

/// The pool of the AF_XDP sockets of a queue.
#[derive(Default)]
pub(crate) struct XskSlot {
    /// The layout of its frames, if the queue has a pool.
    pub(crate) layout: Option<xsk::Layout>,
    /// The pool while no ring of the queue is polled; otherwise the ring has it.
    pub(crate) pool: Option<xsk::Pool>,
}

/// A receive ring: the part that stays while the interface is down.
#[pin_data]
pub(crate) struct RxRing {
    /// The queue of the card that fills it.
    pub(crate) hw_queue: Arc<RxHwQueue>,
    /// The program that the ring's poll runs.
    pub(crate) xdp_prog: ProgSlot,
    /// The counters, some of them written per frame: on cache lines of their own.
    pub(crate) stats: CacheAligned<RxStats>,
    /// The counters of frames that AF_XDP sockets send.
    pub(crate) xsk_tx: CacheAligned<XskTxStats>,
    /// The pool of the AF_XDP sockets of the queue.
    #[pin]
    pub(crate) xsk: Mutex<XskSlot>,
    /// Whether the queue has a pool.
    pub(crate) has_xsk: AtomicBool,
}

impl RxRing {
    /// The ring of this queue, down and without a program.
    pub(crate) fn new(hw_queue: &Arc<RxHwQueue>) -> Result<Arc<Self>> {
        let hw_queue = hw_queue.clone();
        Arc::pin_init(
            pin_init!(Self {
                hw_queue,
                xdp_prog: ProgSlot::new(),
                stats: CacheAligned::default(),
                xsk_tx: CacheAligned::default(),
                xsk <- new_mutex!(XskSlot::default(), "oxnic::RxRing::xsk"),
                has_xsk: AtomicBool::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// The layout of the frames of the queue's pool, if it has one.
    pub(crate) fn xsk_layout(&self) -> Option<xsk::Layout> {
        self.xsk.lock().layout
    }

    /// Completes the frames that AF_XDP sockets of a queue without a running ring have to send.
    /// They are lost and counted.
    pub(crate) fn abort_xsk(&self) {
        if let Some(pool) = &self.xsk.lock().pool {
            self.xsk_tx.xsk_errors.add(pool.abort());
        }
    }

    /// Puts a pool into the slot, for the queue's next ring, or [`None`]. Returns the pool that was
    /// there.
    pub(crate) fn set_xsk(&self, pool: Option<xsk::Pool>) -> Option<xsk::Pool> {
        let mut slot = self.xsk.lock();
        slot.layout = pool.as_ref().map(xsk::Pool::layout);
        self.has_xsk.store(pool.is_some(), Ordering::Relaxed);
        core::mem::replace(&mut slot.pool, pool)
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
