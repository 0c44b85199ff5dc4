// SPDX-License-Identifier: GPL-2.0

//! beat: for each frame that is sent, a device that receives one of 60 zeroes.

use crate::compat::EOPNOTSUPP;
use crate::net::{
    bh,
    device::{
        self,
        Config,
        Device,
        FauxParent,
        LockedDevice,
        Registration,
        Stats64,
        Unregistered,
        Xmit, //
    },
    ethtool::{
        self,
        DrvInfo,
        Visitor, //
    },
    napi::{
        self,
        Disabled,
        Interrupt,
        Napi,
        NapiRef,
        Polled, //
    },
    page_pool::PagePool,
    rtnl::{
        self,
        Rtnl, //
    },
    skbuff::SkBuff,
    xdp::{
        feature,
        Command,
        ProgSlot,
        RxDescriptor,
        RxFrame,
        RxHints,
        RxQueue,
        XdpAction,
        XdpBuffSlot, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
};

#[path = "../../rust/bindings/mod.rs"]
mod bindings;
#[allow(dead_code, unused_imports)]
#[path = "../../rust/compat.rs"]
mod compat;
#[path = "../../rust/dest.rs"]
pub mod dest;
// Made for any driver; this one uses little of it.
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../../rust/net/mod.rs"]
mod net;

module! {
    type: Module,
    name: "beat",
    authors: ["The oxnic authors"],
    description: "The smallest driver on oxnic's abstractions",
    license: "GPL v2",
    imports_ns: ["NETDEV_INTERNAL"],
}

/// What the device and its poll share.
struct Ring {
    prog: ProgSlot,
    pending: Atomic<u32>,
}

impl Interrupt for Ring {
    fn rearm(&self) -> bool {
        self.pending.load(Relaxed) != 0
    }
}

/// The driver's data of a device.
#[pin_data]
struct Beat {
    ring: Arc<Ring>,
    /// The interrupt line, while the interface is up.
    #[pin]
    irq: bh::Lock<Option<Arc<NapiRef>>>,
    #[pin]
    napi: Mutex<Option<Napi<Poll>>>,
}

struct Poll {
    queue: Pin<KBox<RxQueue>>,
    ring: Arc<Ring>,
}

/// What is known of a frame besides its bytes: nothing.
#[derive(Clone, Copy)]
struct Zeroes;

impl RxDescriptor for Zeroes {
    fn hints(&self) -> RxHints {
        RxHints::default()
    }
}

impl napi::Poll for Poll {
    fn poll(&mut self, cx: &napi::Context<'_>, budget: u32) -> Polled {
        let prog = self.ring.prog.read_once(cx);
        let mut work = 0;
        let mut spare = None;
        while work < budget && self.ring.pending.load(Relaxed) != 0 {
            let buffer = spare
                .take()
                .or_else(|| self.queue.as_mut().allocator(cx)?.alloc());
            let Some(mut buffer) = buffer else { break };
            // It fits.
            let _ = buffer.room().zero(0, 60);
            self.ring.pending.fetch_sub(1, Relaxed);
            work += 1;
            // With buffers that were posted before, one slot does for the whole poll.
            let Some(mut slot) = XdpBuffSlot::new(&self.queue, cx, Zeroes) else {
                break;
            };
            let mut buff = slot.load(buffer, 60, Zeroes);
            match prog.map_or(XdpAction::PASS, |prog| prog.bpf_prog_run_xdp(&mut buff, cx)) {
                XdpAction::PASS => {
                    if let Some(skb) = buff.into_skb(cx) {
                        cx.gro_receive(skb);
                    }
                }
                _ => spare = Some(buff.into_buffer(cx)),
            }
        }
        if work == budget {
            Polled::Again
        } else {
            Polled::Done(work)
        }
    }
}

#[vtable]
impl device::Ops for Beat {
    fn open(&self, dev: &LockedDevice, rtnl: &Rtnl) -> Result {
        let napi = Disabled::new(dev, 0, self.ring.clone())?;
        let pool = PagePool::new(&napi, 256)?;
        let poll = Poll {
            queue: RxQueue::new(pool)?,
            ring: self.ring.clone(),
        };
        let napi = napi.start(KBox::new(poll, GFP_KERNEL)?);
        *self.irq.lock(&bh::disable()) = Some(napi.napi_ref().clone());
        *self.napi.lock() = Some(napi);
        dev.start_all_tx_queues(rtnl);
        dev.carrier_on();
        Ok(())
    }

    fn stop(&self, dev: &LockedDevice, _rtnl: &Rtnl) {
        dev.carrier_off();
        *self.irq.lock(&bh::disable()) = None;
        if let Some(napi) = self.napi.lock().take() {
            napi.stop(dev);
        }
    }

    fn start_xmit(&self, _dev: &Device, skb: SkBuff, bh: &bh::Disabled) -> Xmit {
        skb.consume();
        self.ring.pending.add(1, Relaxed);
        if let Some(irq) = &*self.irq.lock(bh) {
            irq.schedule(bh);
        }
        Xmit::Done
    }

    fn stats64(&self, _stats: &mut Stats64) {}

    fn bpf(&self, _dev: &LockedDevice, command: Command<'_>, rtnl: &Rtnl) -> Result {
        let Command::SetupProg { prog, .. } = command else {
            return Err(EOPNOTSUPP);
        };
        drop(self.ring.prog.write_once(prog, rtnl));
        Ok(())
    }
}

#[vtable]
impl ethtool::Ops for Beat {
    fn drvinfo(&self) -> DrvInfo {
        DrvInfo {
            driver: c"beat",
            version: c"1",
        }
    }

    fn msglevel(&self) -> u32 {
        0
    }

    fn set_msglevel(&self, _level: u32) {}

    fn stats(&self, _visitor: &mut dyn Visitor) {}
}

/// A driver of real cards has this for each, made in `probe` and dropped when the card goes. Fields
/// are dropped in their order: the network device goes before its parent.
struct Card {
    _netdev: Registration<Beat>,
    _parent: FauxParent,
}

impl Card {
    fn probe() -> Result<Self> {
        const CONFIG: Config = Config {
            xdp_features: feature::BASIC,
            ..Config::DEFAULT
        };
        // The card of a real driver is on a bus, whose device is the parent.
        let parent = FauxParent::new(c"beat")?;
        let netdev = Unregistered::new(c"beat%d", 1, &CONFIG, Some(parent.device()))?;
        let ring = Ring {
            prog: ProgSlot::new(),
            pending: Atomic::new(0),
        };
        let ring = Arc::new(ring, GFP_KERNEL)?;
        let beat = try_pin_init!(Beat {
            ring,
            irq <- bh::Lock::new(None),
            napi <- new_mutex!(None),
        }? Error);
        // From here on callbacks come: what they need is in the driver's data.
        let netdev = netdev.register(beat, &rtnl::lock())?;
        Ok(Self {
            _netdev: netdev,
            _parent: parent,
        })
    }
}

struct Module {
    _card: Card,
}

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _card: Card::probe()?,
        })
    }
}
