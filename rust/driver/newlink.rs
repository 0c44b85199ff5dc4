// SPDX-License-Identifier: GPL-2.0

//! Creates ports and joins them: `ip link add … type oxnic`.

use super::{
    params::{
        Params,
        MAX_QUEUES, //
    },
    vsi::{
        max_segments,
        Vsi,
        CONFIG, //
    },
};
use crate::{
    card::port::Port,
    net::{
        debugfs::WriteFile,
        device::{
            Config,
            LockedDevice, //
        },
        rtnl::{
            self,
            ExtAck,
            Rtnl, //
        },
        rtnl_link::{
            Kind,
            Registration, //
        },
    },
    nic::switches::Switches,
};
use core::{
    ffi::CStr,
    sync::atomic::Ordering, //
};
use kernel::{
    prelude::*,
    sync::SetOnce, //
};

/// The module parameters: the defaults of ports that are created later.
static LOADED: SetOnce<Params> = SetOnce::new();

fn defaults() -> Result<&'static Params> {
    LOADED.as_ref().ok_or(ENODEV)
}

impl Kind for Vsi {
    const KIND: &CStr = c"oxnic";
    const DEVICE_NAME: &CStr = c"ox%d";
    const CONFIG: Config = CONFIG;
    // The memory of a port's rings is charged to no one.
    const ADMIN_ONLY: bool = true;
    // Without a parent, for which memory is mapped, there is no AF_XDP zero-copy.
    const PARENT: Option<&CStr> = Some(c"oxnic");
    // The personality.
    const TEXT_SETTING: Option<u16> = Some(1);

    fn queues(tx: Option<u32>, rx: Option<u32>, extack: ExtAck<'_>) -> Result<u16> {
        if let (Some(tx), Some(rx)) = (tx, rx) {
            if tx != rx {
                extack.set(fmt!("numtxqueues, numrxqueues: must be equal"));
                return Err(EINVAL);
            }
        }
        match tx.or(rx) {
            None => Ok(defaults()?.queues),
            Some(queues @ 1..=MAX_QUEUES) => Ok(queues as u16),
            Some(_) => {
                extack.set(fmt!("numtxqueues, numrxqueues: must be 1 to {MAX_QUEUES}"));
                Err(EINVAL)
            }
        }
    }

    fn new(
        queues: u16,
        link: Option<&Self>,
        text: Option<&[u8]>,
        extack: ExtAck<'_>,
    ) -> Result<impl PinInit<Self, Error>> {
        let ring_size = defaults()?.ring_size;
        let switches = match text {
            None => defaults()?.personality,
            Some(name) => Switches::of_personality(name).ok_or_else(|| {
                extack.set(fmt!("personality: there is none of this name"));
                EINVAL
            })?,
        };
        let peer = match link {
            Some(link) if link.peer.device().is_some() => {
                extack.set(fmt!("link: the port already has a peer"));
                return Err(EBUSY);
            }
            Some(link) => link.port.clone(),
            None => Port::new(1, ring_size)?,
        };
        let port = Port::new(queues, ring_size)?;
        port.speed
            .store(peer.speed.load(Ordering::Relaxed), Ordering::Relaxed);
        port.count_pauses(0, &peer);
        Vsi::new(port, peer, switches)
    }

    fn registered(&self, dev: &LockedDevice, link: Option<&Self>, rtnl: &Rtnl) {
        self.port.dev.set(Some((&**dev).into()), rtnl);
        // Not in `open`, which would overwrite a map that the user has set.
        dev.set_default_xps(0..self.port.queues(), rtnl);
        dev.set_max_segments(max_segments(self.peer.get().ring_size()), rtnl);
        if let Some(link) = link {
            let paused = link.port.times_paused(&link.peer.get());
            link.port.count_pauses(paused, &self.port);
            link.peer.exchange(self.port.clone(), rtnl);
            self.limit_peer(self.port.ring_size(), rtnl);
        }
        if self.settings.switches() != Switches::NONE {
            self.announce(dev, rtnl);
        }
    }
}

/// All ports, including those that users create, and the file in debugfs that restarts a queue.
pub(crate) struct Ports(
    #[expect(dead_code, reason = "dropping it is its use")] WriteFile<Registration<Vsi>>,
);

impl Ports {
    /// Registers the link type and creates the pairs that `params` asks for. Fails with `ENOMEM`,
    /// and leaves nothing behind then.
    pub(crate) fn new(params: Params) -> Result<Self> {
        let pairs = params.pairs;
        LOADED.populate(params);
        let kind = Registration::new()?;
        let rtnl = rtnl::lock();
        // RTNL is held for all pairs: no port can be changed or removed before all exist.
        let made = (0..pairs).try_for_each(|_| {
            let first = kind.create(None, &rtnl)?;
            kind.create(Some(first), &rtnl).map(drop)
        });
        drop(rtnl);
        made?;
        Ok(Self(WriteFile::new(c"oxnic", c"restart_queue", kind)?))
    }
}
