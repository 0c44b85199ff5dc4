// SPDX-License-Identifier: GPL-2.0

//! A port's device, and all devices of the module.

use super::{
    params::Params,
    port::{Port, FRAME_OVERHEAD},
    rx::{ReadyRing, RunningRing},
};
use crate::net::{
    bh,
    device::{self, feature, Allocated, Config, Device, Registration, Stats64, Xmit},
    page_pool::FRAME_ROOM,
    rtnl::{self, Rtnl},
    skbuff::SkBuff,
    xdp::{self, Command, ProgSlot},
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
};

/// The largest MTU: a frame is in one buffer.
const MAX_MTU: u32 = FRAME_ROOM as u32 - FRAME_OVERHEAD;

/// What the simulated hardware does for the stack.
const FEATURES: u64 =
    feature::SG | feature::HW_CSUM | feature::HIGHDMA | feature::RXCSUM | feature::RXHASH;

/// What can be done with XDP.
const XDP_FEATURES: u32 = xdp::feature::BASIC | xdp::feature::REDIRECT;

/// A port's device: in the words of the hardware whose drivers are the model, a virtual station
/// interface.
#[pin_data]
pub(crate) struct Vsi {
    /// This end of the wire.
    pub(super) port: Arc<Port>,
    /// The other end.
    pub(super) peer: Arc<Port>,
    /// The program of the device. Each ring has a copy, which is what polls read.
    pub(super) xdp_prog: ProgSlot,
    /// Descriptors of a receive ring.
    pub(super) ring_size: u32,
    /// The receive rings while the interface is up.
    #[pin]
    running: Mutex<KVec<RunningRing>>,
}

impl Vsi {
    /// Allocates the device of `port`, which is joined with `peer`.
    fn allocate(port: &Arc<Port>, peer: &Arc<Port>, params: &Params) -> Result<Allocated<Self>> {
        let config = Config {
            name: c"ox%d",
            queues: params.queues,
            max_mtu: MAX_MTU,
            features: FEATURES,
            xdp_features: XDP_FEATURES,
        };
        let ring_size = params.ring_size;
        let (port, peer) = (port.clone(), peer.clone());
        Allocated::new(
            &config,
            try_pin_init!(Self {
                port,
                peer,
                xdp_prog: ProgSlot::new(),
                ring_size,
                running <- new_mutex!(KVec::new(), "oxnic::Vsi::running"),
            }? Error),
        )
    }

    /// The length of the longest frame that the port takes with this MTU, in bytes.
    fn max_frame(mtu: u32) -> usize {
        mtu.saturating_add(FRAME_OVERHEAD) as usize
    }
}

#[vtable]
impl device::Ops for Vsi {
    fn open(&self, dev: &Device, rtnl: &Rtnl) -> Result {
        // All that can fail comes first, so that nothing has to be taken back.
        let rings = &self.port.rings;
        let mut ready = KVec::with_capacity(rings.len(), GFP_KERNEL)?;
        let mut running = KVec::with_capacity(rings.len(), GFP_KERNEL)?;
        for ring in rings {
            let ring = ReadyRing::new(dev, &self.port, &self.peer, ring, self.ring_size, rtnl)?;
            ready.push(ring, GFP_KERNEL)?;
        }
        for ring in ready {
            let ring = ring.run(Self::max_frame(dev.mtu()), rtnl);
            // There is room for it.
            let _ = running.push_within_capacity(ring);
        }
        *self.running.lock() = running;

        dev.start_all_tx_queues(rtnl);
        self.port.set_up(true, dev, &self.peer, rtnl);
        Ok(())
    }

    fn stop(&self, dev: &Device, rtnl: &Rtnl) {
        self.port.set_up(false, dev, &self.peer, rtnl);
        let running = core::mem::replace(&mut *self.running.lock(), KVec::new());
        for ring in running {
            ring.stop(&self.peer, rtnl);
        }
    }

    fn start_xmit(&self, dev: &Device, skb: SkBuff, bh: &bh::Disabled) -> Xmit {
        self.xmit(dev, skb, bh)
    }

    fn stats64(&self, stats: &mut Stats64) {
        for ring in &self.port.rings {
            stats.rx_packets += ring.stats.packets.get();
            stats.rx_bytes += ring.stats.bytes.get();
            stats.rx_dropped += ring.stats.down.get() + ring.stats.skb_alloc_fail.get();
            stats.rx_missed_errors += ring.wire.no_buffer.get();
            stats.rx_length_errors += ring.wire.oversize.get();
            stats.tx_packets += ring.stats.xdp_tx.get();
            stats.tx_bytes += ring.stats.xdp_tx_bytes.get();
        }
        stats.rx_errors += stats.rx_length_errors;
        for queue in &self.port.tx {
            stats.tx_packets += queue.packets.get();
            stats.tx_bytes += queue.bytes.get();
            stats.tx_dropped += queue.dropped.get();
            stats.tx_carrier_errors += queue.carrier.get();
        }
        stats.tx_errors += stats.tx_carrier_errors;
    }

    fn change_mtu(&self, _dev: &Device, mtu: u32, _rtnl: &Rtnl) -> Result {
        let bh = bh::disable();
        for ring in &self.port.rings {
            if let Some(inlet) = &mut *ring.inlet.lock(&bh) {
                inlet.wire.set_max_len(Self::max_frame(mtu));
            }
        }
        Ok(())
    }

    fn bpf(&self, dev: &Device, command: Command<'_>, rtnl: &Rtnl) -> Result {
        self.xdp(dev, command, rtnl)
    }
}

/// All ports of the module, two and two joined by a wire.
pub(crate) struct Ports(KVec<Registration<Vsi>>);

impl Ports {
    /// Makes the pairs that `params` asks for. Fails with `ENOMEM`; nothing is left then.
    pub(crate) fn new(params: &Params) -> Result<Self> {
        let mut ports = Self(KVec::with_capacity(2 * params.pairs, GFP_KERNEL)?);
        for _ in 0..params.pairs {
            ports.add_pair(params)?;
        }
        Ok(ports)
    }

    fn add_pair(&mut self, params: &Params) -> Result {
        let ends = [Port::new(params.queues)?, Port::new(params.queues)?];
        let [a, b] = &ends;
        let allocated = [Vsi::allocate(a, b, params)?, Vsi::allocate(b, a, params)?];

        // Both appear at once: as soon as RTNL is given back somebody may use them.
        let rtnl = rtnl::lock();
        let registered = allocated.map(|vsi| vsi.register(&rtnl));
        if let [Ok(a), Ok(b)] = &registered {
            for vsi in [a, b] {
                vsi.data().port.set_device(Some(vsi.device().into()));
            }
        }
        drop(rtnl);

        for vsi in registered {
            self.0.push(vsi?, GFP_KERNEL)?;
        }
        Ok(())
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        for vsi in &self.0 {
            vsi.data().port.set_device(None);
        }
        Registration::unregister_many(core::mem::replace(&mut self.0, KVec::new()));
    }
}
