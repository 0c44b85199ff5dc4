// SPDX-License-Identifier: GPL-2.0

//! A port's device.

use super::{
    features,
    rx::{
        life::{
            end_all,
            RunningRing, //
        },
        ring::RxRing, //
    },
    settings::Settings,
    tx::{
        ring::TxRing,
        xmit_gate::XmitGate, //
    },
};
use crate::{
    card::{
        link::LinkTimer,
        port::{
            Peer,
            Port, //
        },
        rx::RxMetadata, //
    },
    net::{
        bh,
        device::{
            self,
            feature,
            Config,
            Device,
            DeviceRef,
            LockedDevice,
            Netpoll,
            Stats64,
            Xmit, //
        },
        hwtstamp,
        page_pool::{
            FRAME_ROOM,
            MAX_BUFFERS, //
        },
        queue_mgmt::Table,
        queues::{
            RxQueueStats,
            TxQueueStats, //
        },
        rtnl::{
            ExtAck,
            Rtnl, //
        },
        rx_mode::{
            MacAddress,
            RxMode, //
        },
        skbuff::SkBuff,
        timer::Timer,
        xdp::{
            self,
            Command,
            Frames,
            Prog,
            ProgSlot, //
        },
    },
    nic::{
        steering::Steering,
        switches::Switches,
        vlan::Strip,
        wire, //
    },
};
use core::sync::atomic::Ordering;
use kernel::{
    alloc::KVBox,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// Bytes of a frame on top of the MTU: the Ethernet header and two VLAN tags.
const FRAME_OVERHEAD: u32 = 14 + 2 * 4;

/// How long a transmit queue may be stopped, in milliseconds. The kernel's default is 5000. Sending
/// takes no time here, so queues often stop, and the poll of the peer that wakes them may be
/// deferred, unlike a hardware interrupt.
const TX_TIMEOUT_MS: u32 = 15_000;

/// The largest MTU of any Ethernet device (`ETH_MAX_MTU`), that is, the largest IP packet.
const ETH_MAX_MTU: u32 = u16::MAX as u32;

/// The largest MTU: a frame of as many buffers as an xdp_buff takes. With pages of more than 4 KiB
/// that would be more than an IP packet.
pub(super) const MAX_MTU: u32 = {
    let mtu = (MAX_BUFFERS * FRAME_ROOM) as u32 - FRAME_OVERHEAD;

    if mtu < ETH_MAX_MTU {
        mtu
    } else {
        ETH_MAX_MTU
    }
};

/// The largest MTU at which every frame fits into one buffer.
pub(super) const SINGLE_BUFFER_MTU: u32 = FRAME_ROOM as u32 - FRAME_OVERHEAD;

/// Offloads and other features that are on by default.
const FEATURES: u64 = feature::SG
    | feature::HW_CSUM
    | feature::TSO
    | feature::HIGHDMA
    | feature::RXCSUM
    | feature::RXHASH
    | feature::NTUPLE
    | feature::VLAN_CTAG_RX
    | feature::VLAN_CTAG_TX;

/// Features that are off by default.
const MORE_FEATURES: u64 =
    feature::VLAN_CTAG_FILTER | feature::VLAN_STAG_RX | feature::VLAN_STAG_TX;

/// Features that work for frames with a VLAN tag too.
const VLAN_FEATURES: u64 = feature::SG | feature::HW_CSUM | feature::TSO | feature::HIGHDMA;

/// XDP features, announced in netlink.
pub(super) const XDP_FEATURES: u32 = xdp::feature::BASIC
    | xdp::feature::REDIRECT
    | xdp::feature::NDO_XMIT
    | xdp::feature::RX_SG
    | xdp::feature::NDO_XMIT_SG
    | xdp::feature::XSK_ZEROCOPY;

/// The configuration of every port's device.
pub(crate) const CONFIG: Config = Config {
    max_mtu: MAX_MTU,
    features: FEATURES,
    more_features: MORE_FEATURES,
    vlan_features: VLAN_FEATURES,
    xdp_features: XDP_FEATURES,
    xsk_max_buffers: MAX_BUFFERS as u32,
    xsk_tx_metadata: true,
    tx_timeout_ms: TX_TIMEOUT_MS,
    random_address: true,
    // `set_mac_address` also changes the receive filter of a port that is up.
    live_address_change: true,
    // `start_xmit` copies the skb and writes nothing into it, but for a flag if a socket wants a
    // time stamp. An skb that pktgen shares has no socket.
    tx_skb_sharing: true,
    // Queue management needs it.
    instance_lock: true,
    // Netpoll sends in hard interrupts too, where the wire lock, a softirq lock, would deadlock.
    netpoll: Netpoll::Refused,
};

/// The most segments of a large frame for a peer with rings of this size. More would work, in
/// several steps, but a single frame should not fill a ring.
pub(crate) fn max_segments(ring_size: u32) -> u16 {
    (ring_size / 2 - 4) as u16
}

/// A port's device. i40e, the model of this driver, calls it a VSI (virtual station interface).
#[pin_data]
pub(crate) struct Vsi {
    /// The port of the card: this end of the wire.
    pub(crate) port: Arc<Port>,
    /// The other end.
    pub(crate) peer: Arc<Peer>,
    /// Settings of the user that polls read.
    pub(crate) settings: Arc<Settings>,
    /// The receive rings, one for each queue of the port.
    pub(crate) rx_rings: KVec<Arc<RxRing>>,
    /// The transmit queues, as many as receive rings.
    pub(crate) tx_rings: KVec<TxRing>,
    /// The program of the device. Polls read the copy in their ring.
    pub(crate) xdp_prog: ProgSlot,
    /// Whether frames can be redirected to the device.
    pub(crate) xmit_gate: XmitGate,
    /// Ends the loss of the link that attaching a program may cause.
    pub(crate) link_timer: Pin<KBox<Timer<LinkTimer>>>,
    /// The receive rings while the interface is up.
    #[pin]
    pub(crate) running: Mutex<KVec<RunningRing>>,
}

impl Vsi {
    /// The device of `port`, with `peer` at the other end of the wire, and with these switches.
    pub(crate) fn new(
        port: Arc<Port>,
        peer: Arc<Port>,
        switches: Switches,
    ) -> Result<impl PinInit<Self, Error>> {
        let peer = Arc::new(Peer::new(peer), GFP_KERNEL)?;
        let settings = Arc::new(Settings::new(), GFP_KERNEL)?;
        settings.set_switches(switches);
        let link_timer = LinkTimer::new(&port, &peer)?;
        let mut rx_rings = KVec::with_capacity(port.rx_queues.len(), GFP_KERNEL)?;
        let mut tx_rings = KVec::with_capacity(port.rx_queues.len(), GFP_KERNEL)?;
        for queue in port.rx_queues.iter() {
            rx_rings.push(RxRing::new(queue)?, GFP_KERNEL)?;
            tx_rings.push(TxRing::default(), GFP_KERNEL)?;
        }
        Ok(try_pin_init!(Self {
            port,
            peer,
            settings,
            rx_rings,
            tx_rings,
            xdp_prog: ProgSlot::new(),
            xmit_gate: XmitGate::default(),
            link_timer,
            running <- new_mutex!(KVec::new(), "oxnic::Vsi::running"),
        }? Error))
    }

    /// The configuration of the receive unit for this MTU and these features.
    pub(crate) fn config_for(mtu: u32, features: u64) -> wire::RxConfig {
        wire::RxConfig {
            max_len: mtu.saturating_add(FRAME_OVERHEAD) as usize,
            strip: Strip {
                customer: features & feature::VLAN_CTAG_RX != 0,
                service: features & feature::VLAN_STAG_RX != 0,
            },
        }
    }

    /// Metadata for this program and these features: the timestamp if the program is device-bound,
    /// or if sockets get it; the hash if steering computes it, or if the stack or a device-bound
    /// program reads it.
    pub(crate) fn rx_metadata(&self, prog: Option<&Prog>, features: u64) -> RxMetadata {
        self.rx_metadata_if(self.port.steering.uses_rss(), prog, features)
    }

    /// As [`rx_metadata`](Self::rx_metadata). `uses_rss`: steering computes the hash.
    fn rx_metadata_if(&self, uses_rss: bool, prog: Option<&Prog>, features: u64) -> RxMetadata {
        let dev_bound = prog.is_some_and(Prog::is_dev_bound);
        let rx_hash = features & feature::RXHASH != 0;
        let stamped = dev_bound || self.settings.hwtstamp.rx.load(Ordering::Relaxed);
        let meta = RxMetadata::none().with(RxMetadata::TIMESTAMP, stamped);
        if uses_rss {
            meta.with(RxMetadata::RSS_HASH, rx_hash)
        } else {
            meta.with(RxMetadata::HASH, rx_hash && (dev_bound || prog.is_none()))
        }
    }

    /// Replaces the steering registers. Frames get the hash of steering only while steering
    /// computes one, so that no frame lacks its hash meanwhile.
    ///
    /// Senders that wait for a ring may send to another one now. The one that they wait for need
    /// not get buffers again: if it is a ring of umem, that is up to user space.
    pub(crate) fn set_steering(&self, dev: &Device, steering: KVBox<Steering>) {
        let uses_rss = !steering.is_single_queue();
        let prog = self.xdp_prog.get();
        let meta = self.rx_metadata_if(uses_rss, prog.as_deref(), dev.features());
        let set_meta = || self.port.for_each_running(|hw| hw.meta = meta);
        if !uses_rss {
            set_meta();
        }
        self.port.steering.replace(steering);
        if uses_rss {
            set_meta();
        }
        self.peer.get().wake_all(&self.port);
    }

    /// Configures the running queues for this MTU and these features, from the next frame on.
    fn set_rx_config(&self, mtu: u32, features: u64) {
        let config = Self::config_for(mtu, features);
        let meta = self.rx_metadata(self.xdp_prog.get().as_deref(), features);
        self.port.for_each_running(|hw| {
            hw.writer.configure(config);
            hw.meta = meta;
        });
        // A frame that waits may be too long now.
        self.peer.get().wake_all(&self.port);
    }
}

#[vtable]
impl device::Ops for Vsi {
    fn open(&self, dev: &LockedDevice, rtnl: &Rtnl) -> Result {
        // The filter does not know the address yet that was chosen when the device was created.
        let own = dev.address(rtnl);
        self.change_filter(rtnl, |filter| filter.set_own(own))?;
        let mut running = KVec::with_capacity(self.rx_rings.len(), GFP_KERNEL)?;
        let ready = self.ready_rings(dev, 0..self.port.queues(), self.port.ring_size())?;
        // Nothing fails from here on, so nothing has to be undone.
        let config = self.rx_config(dev);
        for ring in ready {
            // It fits: allocated above.
            let _ = running.push_within_capacity(ring.connect(None, config).start());
        }
        *self.running.lock() = running;

        // The stack dropped large frames that were partly sent when the interface went down.
        for queue in &self.tx_rings {
            queue.progress.forget();
        }
        dev.start_all_tx_queues(rtnl);
        self.port.set_up(true, dev, &self.peer.get(), rtnl);
        self.set_xmit_gate(dev);
        Ok(())
    }

    fn stop(&self, dev: &LockedDevice, rtnl: &Rtnl) {
        let peer = self.peer.get();
        self.port.set_up(false, dev, &peer, rtnl);
        self.set_xmit_gate(dev);
        let mut rings = core::mem::replace(&mut *self.running.lock(), KVec::new());
        for ring in &mut rings {
            ring.disconnect(&peer);
        }
        end_all(rings, dev);
        for ring in &self.rx_rings {
            ring.abort_xsk();
        }
    }

    /// The device goes away. Its port stays, down, as long as the peer is joined with it.
    fn uninit(&self, rtnl: &Rtnl) {
        self.port.dev.set(None, rtnl);
    }

    fn link_peer(&self) -> Option<DeviceRef> {
        self.peer.device()
    }

    #[inline]
    fn start_xmit(&self, dev: &Device, skb: SkBuff, bh: &bh::Disabled) -> Xmit {
        self.xmit(dev, skb, bh)
    }

    #[inline]
    fn features_check(&self, skb: &SkBuff, features: u64) -> u64 {
        features::check(skb, features)
    }

    fn tx_timeout(&self, dev: &Device, queue: u16, bh: &bh::Disabled) {
        Vsi::tx_timeout(self, dev, queue, bh);
    }

    fn stats64(&self, stats: &mut Stats64) {
        for ring in self.rx_rings.iter() {
            stats.rx_packets += ring.stats.packets.get();
            stats.rx_bytes += ring.stats.bytes.get();
            stats.rx_dropped += ring.stats.down.get()
                + ring.stats.skb_alloc_fail.get()
                + ring.stats.xdp_no_frags.get()
                + ring.stats.xsk_frags_invalid.get();
            stats.rx_missed_errors += ring.hw_queue.stats.no_buffer.get();
            stats.rx_length_errors += ring.hw_queue.stats.oversize.get();
            stats.tx_packets += ring.stats.xdp_tx.get() + ring.xsk_tx.xsk_packets.get();
            stats.tx_bytes += ring.stats.xdp_tx_bytes.get() + ring.xsk_tx.xsk_bytes.get();
            stats.tx_errors += ring.xsk_tx.xsk_errors.get();
        }
        stats.rx_errors += stats.rx_length_errors;
        for queue in &self.tx_rings {
            stats.tx_packets += queue.stats.packets.get() + queue.xmit.xdp_xmit.get();
            stats.tx_bytes += queue.stats.bytes.get() + queue.xmit.xdp_xmit_bytes.get();
            stats.tx_dropped += queue.stats.dropped.get();
            stats.tx_carrier_errors += queue.stats.carrier.get();
        }
        stats.tx_errors += stats.tx_carrier_errors;
    }

    const QUEUE_MGMT: Option<Table<Self>> = Some(Table::CALLBACKS);

    fn rx_queue_stats(&self, queue: usize) -> RxQueueStats {
        let Some(ring) = self.rx_rings.get(queue) else {
            return RxQueueStats::default();
        };
        RxQueueStats {
            packets: ring.stats.packets.get(),
            bytes: ring.stats.bytes.get(),
            alloc_fail: ring.stats.buf_alloc_fail.get() + ring.stats.skb_alloc_fail.get(),
        }
    }

    /// Frames that XDP_TX sends from a receive ring count for the transmit queue of the same
    /// number.
    fn tx_queue_stats(&self, queue: usize) -> TxQueueStats {
        let (Some(ring), Some(tx), Some(pause)) = (
            self.rx_rings.get(queue),
            self.tx_rings.get(queue),
            self.port.tx_pauses.get(queue),
        ) else {
            return TxQueueStats::default();
        };
        let (ring, xsk, stack, xmit) = (&ring.stats, &ring.xsk_tx, &tx.stats, &tx.xmit);
        let xdp = ring.xdp_tx.get() + xmit.xdp_xmit.get() + xsk.xsk_packets.get();
        let xdp_bytes = ring.xdp_tx_bytes.get() + xmit.xdp_xmit_bytes.get() + xsk.xsk_bytes.get();
        TxQueueStats {
            packets: stack.packets.get() + xdp,
            bytes: stack.bytes.get() + xdp_bytes,
            stop: pause.stopped.get(),
            wake: pause.woken.get(),
        }
    }

    fn change_mtu(&self, dev: &LockedDevice, mtu: u32, _rtnl: &Rtnl) -> Result {
        self.set_rx_config(mtu, dev.features());
        Ok(())
    }

    fn set_features(&self, dev: &LockedDevice, features: u64, rtnl: &Rtnl) -> Result {
        let steering = match features & feature::NTUPLE {
            0 => self.steering_without_rules()?,
            _ => None,
        };
        self.change_filter(rtnl, |filter| {
            filter.set_filters_vlans(features & feature::VLAN_CTAG_FILTER != 0);
        })?;
        if let Some(steering) = steering {
            self.set_steering(dev, steering);
        }
        self.set_rx_config(dev.mtu(), features);
        Ok(())
    }

    fn set_rx_mode(&self, dev: &LockedDevice, mode: &RxMode<'_>, rtnl: &Rtnl) -> Result {
        self.change_rx_mode(dev, mode, rtnl)
    }

    fn set_mac_address(&self, _dev: &LockedDevice, address: MacAddress, rtnl: &Rtnl) -> Result {
        self.change_filter(rtnl, |filter| filter.set_own(address))
    }

    fn vlan_rx_add_vid(&self, _dev: &Device, vid: u16, rtnl: &Rtnl) -> Result {
        self.change_filter(rtnl, |filter| filter.set_vlan(vid, true))
    }

    fn vlan_rx_kill_vid(&self, _dev: &Device, vid: u16, rtnl: &Rtnl) -> Result {
        self.change_filter(rtnl, |filter| filter.set_vlan(vid, false))
    }

    fn hwtstamp(&self) -> hwtstamp::Config {
        self.get_hwtstamp()
    }

    fn set_hwtstamp(
        &self,
        dev: &LockedDevice,
        config: hwtstamp::Config,
        extack: ExtAck<'_>,
    ) -> Result<hwtstamp::Config> {
        self.change_hwtstamp(dev, config, extack)
    }

    fn xdp_xmit(
        &self,
        dev: &Device,
        frames: &mut Frames<'_>,
        _flush: bool,
        bh: &bh::Disabled,
    ) -> Result {
        self.xmit_frames(dev, frames, bh)
    }

    fn bpf(&self, dev: &LockedDevice, command: Command<'_>, rtnl: &Rtnl) -> Result {
        self.xdp(dev, command, rtnl)
    }

    fn xsk_wakeup(&self, queue: u16, bh: &bh::Disabled) -> Result {
        self.wake_xsk(queue, bh)
    }
}
