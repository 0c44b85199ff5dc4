// SPDX-License-Identifier: GPL-2.0

//! The link between the two ends of a wire: there is one while both are up. A card may lose it for
//! some time, as real cards do that are reset.
//!
//! While the link is lost no frame gets across: the queues of both ends are off the wire, so for
//! senders the peer is down. Frames that were in the rings before are received.

use super::port::{
    Peer,
    Port, //
};
use crate::net::{
    bh,
    device::Device,
    timer::{
        Timer,
        TimerCallback, //
    },
};
use core::sync::atomic::Ordering;
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl Port {
    /// Whether there is a link.
    pub(crate) fn has_link(&self, peer: &Port) -> bool {
        let both_up = self.up.load(Ordering::SeqCst) && peer.up.load(Ordering::SeqCst);
        both_up && !self.is_link_lost(peer)
    }

    /// Whether the card at one of the two ends has lost the link.
    fn is_link_lost(&self, peer: &Port) -> bool {
        self.link_lost.load(Ordering::SeqCst) || peer.link_lost.load(Ordering::SeqCst)
    }

    /// Sets the carrier at both ends. `dev` is the device of this end, if the caller has it.
    ///
    /// Several threads may do so at once, each after it has changed what decides: the last to set
    /// the carrier then finds what holds.
    pub(super) fn set_carrier(&self, dev: Option<&Device>, peer: &Port) {
        let own = match dev {
            Some(dev) => Some(dev.into()),
            None => self.device(),
        };
        let devices = [own, peer.device()];
        loop {
            let link = self.has_link(peer);
            for dev in devices.iter().flatten() {
                if link {
                    dev.carrier_on();
                } else {
                    dev.carrier_off();
                }
            }
            if self.has_link(peer) == link {
                return;
            }
        }
    }

    /// The card loses the link, until [`regain_link`](Self::regain_link). What waits to be sent, or
    /// is sent meanwhile, is lost.
    pub(crate) fn lose_link(&self, peer: &Port, bh: &bh::Disabled) {
        self.link_lost.store(true, Ordering::SeqCst);
        self.connect_queues(peer, bh);
        self.set_carrier(None, peer);
    }

    /// The link is back, unless the peer has lost it too.
    pub(crate) fn regain_link(&self, peer: &Port, bh: &bh::Disabled) {
        if self.link_lost.swap(false, Ordering::SeqCst) {
            self.connect_queues(peer, bh);
            self.set_carrier(None, peer);
        }
    }

    /// Takes the queues of both ends off the wire if the link is lost, or connects them again.
    ///
    /// As in [`set_carrier`](Self::set_carrier), several threads may do so at once: the two ends
    /// may lose the link and regain it at the same time, and the timer of an earlier loss may
    /// expire while the next one begins. The last to change a queue finds what holds, since each
    /// reads that again after it has changed the queues.
    fn connect_queues(&self, peer: &Port, bh: &bh::Disabled) {
        loop {
            let lost = self.is_link_lost(peer);
            for (port, other) in [(self, peer), (peer, self)] {
                for queue in port.rx_queues.iter() {
                    if lost {
                        other.wake(queue.lose_link(bh), bh);
                    } else {
                        queue.regain_link(bh);
                    }
                }
            }
            if self.is_link_lost(peer) == lost {
                return;
            }
        }
    }
}

/// The timer after which the link of a port is back.
pub(crate) struct LinkTimer {
    port: Arc<Port>,
    peer: Arc<Peer>,
}

impl LinkTimer {
    /// Fails with `ENOMEM`.
    pub(crate) fn new(port: &Arc<Port>, peer: &Arc<Peer>) -> Result<Pin<KBox<Timer<Self>>>> {
        Timer::new(Self {
            port: port.clone(),
            peer: peer.clone(),
        })
    }
}

impl TimerCallback for LinkTimer {
    type Context = bh::Disabled;

    fn expired(&self, bh: &bh::Disabled) {
        self.port.regain_link(&self.peer.read(bh), bh);
    }
}
