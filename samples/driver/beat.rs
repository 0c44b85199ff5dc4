// SPDX-License-Identifier: GPL-2.0

//! beat: for each frame that is sent, a device that receives one of 60 zeroes.

use crate::net::{
    bh,
    device::{self, Config, Device, LockedDevice, Stats64, Xmit},
    ethtool::{self, DrvInfo, Visitor},
    napi::{self, Disabled, Interrupt, Napi, NapiRef, Polled},
    page_pool::PagePool,
    rtnl::{ExtAck, Rtnl},
    rtnl_link::{Kind, Registration},
    skbuff::SkBuff,
    xdp::{feature, Command, ProgSlot, RxDescriptor, RxHints, RxQueue, Verdict, XdpBuffSlot},
};
use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use kernel::{new_mutex, prelude::*, sync::Arc, sync::Mutex};

#[path = "../../rust/bindings/mod.rs"]
mod bindings;
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
    pending: AtomicU32,
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
            buffer.room()[..60].fill(0);
            self.ring.pending.fetch_sub(1, Relaxed);
            work += 1;
            // With buffers that were posted before, one slot does for the whole poll.
            let mut slot = XdpBuffSlot::new(&self.queue, Zeroes);
            let mut buff = slot.load(buffer, 60, Zeroes);
            match prog.map_or(Verdict::Pass, |prog| prog.run(&mut buff, cx).into()) {
                Verdict::Pass => {
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
        let pool = PagePool::new(dev, &napi, 0, 256)?;
        let poll = Poll {
            queue: RxQueue::new(dev, 0, pool)?,
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
        self.ring.pending.fetch_add(1, Relaxed);
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

/// `ip link add type beat` makes a device.
impl Kind for Beat {
    const KIND: &CStr = c"beat";
    const DEVICE_NAME: &CStr = c"beat%d";
    const CONFIG: Config = Config {
        max_mtu: 1500,
        features: 0,
        more_features: 0,
        xdp_features: feature::BASIC,
        tx_timeout_ms: 5000,
    };

    fn queues(tx: Option<u32>, rx: Option<u32>, extack: ExtAck<'_>) -> Result<u16> {
        if tx.unwrap_or(1) != 1 || rx.unwrap_or(1) != 1 {
            extack.set(fmt!("there is one queue"));
            return Err(EINVAL);
        }
        Ok(1)
    }

    fn new(
        _queues: u16,
        _link: Option<&Self>,
        _extack: ExtAck<'_>,
    ) -> Result<impl PinInit<Self, Error>> {
        let ring = Ring {
            prog: ProgSlot::new(),
            pending: AtomicU32::new(0),
        };
        let ring = Arc::new(ring, GFP_KERNEL)?;
        Ok(try_pin_init!(Beat {
            ring,
            irq <- bh::Lock::new(None),
            napi <- new_mutex!(None),
        }? Error))
    }

    fn registered(&self, _dev: &Device, _link: Option<&Self>, _rtnl: &Rtnl) {}
}

struct Module {
    _beat: Registration<Beat>,
}

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _beat: Registration::new()?,
        })
    }
}
