// SPDX-License-Identifier: GPL-2.0

//! Changes to a port whose queues have sockets: the sockets live on, or the change is refused.

use super::{wake_tx, zero_copy};
use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::case,
    host::{ensure_eq, wait_until},
    nl::netdev::{self, NapiSettings},
    support::{
        polls::{napi, set_threaded},
        restart,
        steer::Steer,
        traffic::{check_alive, settle_after_down, while_sending, Source},
        xsk::{steer_to, wait_free},
    },
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
        xsk::socket::Socket,
    },
};
use anyhow::{ensure, Context, Result};
use std::collections::VecDeque;

/// A port with a socket on its queue 0, and its peer.
struct Bound<'a> {
    bed: &'a Bed,
    socket: Socket,
    steer: Steer,
    seq: u32,
}

impl<'a> Bound<'a> {
    fn new(bed: &'a Bed) -> Result<Self> {
        let socket = Socket::open(&bed.b, 0, zero_copy())?;
        let steer = steer_to(&bed.b, 0, &socket)?;

        bed.up()?;
        // One half to receive, the other to send.
        socket.fill_first(socket.setup.buffers / 2);
        socket.wake_rx()?;
        Ok(Self {
            bed,
            socket,
            steer,
            seq: 0,
        })
    }

    /// Takes a frame out of the socket, if there is one, and gives its buffer back.
    fn take_probe(&self) -> Result<Option<Probe>> {
        let socket = &self.socket;

        if socket.fill.needs_wakeup() {
            socket.wake_rx()?;
        }
        let Some((probe, desc)) = socket.take_probe()? else {
            return Ok(None);
        };
        socket.give_back(&desc);
        Ok(Some(probe))
    }

    /// A frame to the socket and one from it, byte by byte.
    fn works(&mut self) -> Result<()> {
        let probe = Probe::new(0, self.seq);
        let tap = Tap::open(&self.bed.a)?;

        self.seq += 1;
        Sender::open(&self.bed.a)?.send(&probe.frame())?;
        let mut found = None;
        wait_until("a frame arrives in the socket", || {
            found = self.take_probe()?;
            Ok(found.is_some())
        })?;
        ensure_eq!(found.as_ref(), Some(&probe), "received");

        let free = self.socket.setup.buffers / 2;
        self.socket.put(free, &probe.frame());
        wait_until("it is sent", || {
            wake_tx(&self.socket)?;
            Ok(self.socket.completed() == [self.socket.buffer(free)])
        })?;
        ensure_eq!(
            Probe::parse(&tap.any()?)?,
            Some(probe),
            "frame from the socket"
        );
        Ok(())
    }
}

/// Changes that sockets survive.
pub type Change = (&'static str, fn(&Port) -> Result<()>);

pub const CHANGES: [Change; 12] = [
    ("-G rx 64", |port| port.ethtool("-G", "rx 64").map(drop)),
    ("-G rx 4096", |port| port.ethtool("-G", "rx 4096").map(drop)),
    ("-G rx 512", |port| port.ethtool("-G", "rx 512").map(drop)),
    ("-G tx 64", |port| port.ethtool("-G", "tx 64").map(drop)),
    ("-G tx 512", |port| port.ethtool("-G", "tx 512").map(drop)),
    ("down and up", |port| {
        port.down()?;
        port.up()
    }),
    ("mtu 1000", |port| port.set_mtu(1000)),
    ("mtu 1500", |port| port.set_mtu(1500)),
    ("more channels", |port| {
        port.ethtool("-L", "combined 4").map(drop)
    }),
    ("fewer channels", |port| {
        port.ethtool("-L", "combined 2").map(drop)
    }),
    ("coalescing", |port| {
        port.ethtool("-C", "rx-usecs 20 rx-frames 10").map(drop)
    }),
    ("restart of the queue", |port| restart::restart(port, 0)),
];

case!(ports "xsk_zc::survives_changes", "queues=4", survives);
fn survives(bed: &Bed) -> Result<()> {
    bed.a.ethtool("-L", "combined 1")?;
    bed.b.ethtool("-L", "combined 2")?;
    // All frames to the queue with the socket.
    bed.b.ethtool("-X", "equal 1")?;
    let mut bound = Bound::new(bed)?;

    for round in 0..3 {
        for (name, change) in CHANGES {
            let what = || format!("{name}, round {round}");

            change(&bed.b).with_context(what)?;
            bed.a.wait_running(true)?;
            bound.works().with_context(what)?;
        }
        // The peer.
        for (name, change) in &CHANGES[..8] {
            let what = || format!("{name} at the peer, round {round}");

            change(&bed.a).with_context(what)?;
            bed.b.wait_running(true)?;
            bound.works().with_context(what)?;
        }
    }
    settle_after_down(bed).map(drop)
}

case!(ports "xsk_zc::order_of_buffers", "queues=1", order);
/// Frames are received into the buffers in the order in which user space has given them, however
/// often the ring of the queue is replaced.
fn order(bed: &Bed) -> Result<()> {
    const FRAMES: u32 = 20;
    let socket = Socket::open(&bed.b, 0, zero_copy())?;
    let _steer = steer_to(&bed.b, 0, &socket)?;
    let given = socket.setup.buffers / 2;
    let mut expected: VecDeque<_> = (0..given).map(|n| socket.buffer(n)).collect();
    let changes = CHANGES
        .iter()
        .filter(|(name, _)| !name.contains("channels"));

    bed.up()?;
    socket.fill_first(given);
    for (round, (name, change)) in (0..).zip(changes.cycle().take(30)) {
        let what = || format!("{name}, round {round}");
        let mut seen = 0;

        change(&bed.b).with_context(what)?;
        bed.a.wait_running(true)?;
        Sender::open(&bed.a)?.send_flow(&Probe::new(round, 0), FRAMES)?;
        wait_until("frames arrive in the socket", || {
            if socket.fill.needs_wakeup() {
                socket.wake_rx()?;
            }
            while let Some((probe, desc)) = socket.take_probe()? {
                ensure_eq!(probe, Probe::new(round, seen), "frame");
                ensure_eq!(
                    Some(socket.buffer_of(&desc)),
                    expected.pop_front(),
                    "buffer of frame {seen}"
                );
                socket.give_back(&desc);
                expected.push_back(socket.buffer_of(&desc));
                seen += 1;
            }
            Ok(seen == FRAMES)
        })
        .with_context(what)?;
    }
    settle_after_down(bed).map(drop)
}

case!(ports "xsk_zc::survives_programs", "queues=1", programs);
/// Programs are exchanged and detached; without one the stack gets the frames.
fn programs(bed: &Bed) -> Result<()> {
    let mut bound = Bound::new(bed)?;
    let pass = Program::sample("xdp_pass")?;
    let tap = Tap::open(&bed.b)?;

    for seq in 0..20 {
        bound.works()?;
        if seq % 2 == 0 {
            bed.b.detach()?;
        } else {
            bed.b.attach(&pass)?;
        }
        Sender::open(&bed.a)?.send(&Probe::new(9, seq).frame())?;
        ensure_eq!(tap.probes(1)?, [Probe::new(9, seq)], "frame in the stack");
        bed.b.attach(&bound.steer.program)?;
    }
    bound.works()?;
    settle_after_down(bed).map(drop)
}

case!(ports "xsk_zc::survives_threads", "queues=1", threads);
/// Polls move into threads and back, before and after a socket comes and goes: nothing hangs on a
/// ring that is not polled.
fn threads(bed: &Bed) -> Result<()> {
    let whole = |threaded| set_threaded(&bed.b, threaded);
    let one = |threaded| -> Result<()> {
        let id = napi(&bed.b, 0)?.id;
        let settings = NapiSettings {
            threaded,
            ..NapiSettings::default()
        };

        bed.b.ns.enter(|| netdev::set_napi(id, &settings))
    };
    let settings: [&dyn Fn(bool) -> Result<()>; 2] = [&whole, &one];

    bed.up()?;
    for set in settings {
        for before in [false, true] {
            set(before)?;
            let mut bound = Bound::new(bed)?;

            bound.works()?;
            for threaded in [!before, before, !before] {
                set(threaded)?;
                bound
                    .works()
                    .with_context(|| format!("in threads: {threaded}, at first {before}"))?;
            }
            bed.b.detach()?;
            drop(bound);
            wait_free(&bed.b, 0)?;
            check_alive(bed)?;
            set(false)?;
        }
    }
    Ok(())
}

case!(ports "xsk_zc::refused_changes", "queues=4", refused);
/// A queue with a socket cannot be taken away, and the kernel says why.
fn refused(bed: &Bed) -> Result<()> {
    let last = Socket::open(&bed.b, 3, zero_copy())?;

    bed.up()?;
    last.fill_all();
    let text = bed.b.ethtool_refusal("-L", "combined 2")?;
    ensure!(text.contains("AF_XDP"), "{text}");
    drop(last);
    wait_free(&bed.b, 3)?;
    bed.b.ethtool("-L", "combined 2")?;
    check_alive(bed)
}

case!(ports "xsk_zc::changes_under_traffic", "queues=2", under_traffic);
/// All of these changes while frames go both ways.
fn under_traffic(bed: &Bed) -> Result<()> {
    bed.b.ethtool("-X", "equal 1")?;
    let bound = Bound::new(bed)?;

    while_sending(
        &[
            Source::new(&bed.a).may_fail(),
            Source::new(&bed.b).may_fail(),
        ],
        |_| {
            for _ in 0..2 {
                for (name, change) in CHANGES {
                    if name.contains("channels") {
                        continue;
                    }
                    change(&bed.b).with_context(|| name.to_owned())?;
                    bed.a.wait_running(true)?;
                    let mut seen = 0;
                    wait_until("frames arrive in the socket", || {
                        while let Some(probe) = bound.take_probe()? {
                            ensure_eq!(probe.len, Probe::new(0, 0).len, "length of a frame");
                            seen += 1;
                        }
                        Ok(seen > 50)
                    })
                    .with_context(|| name.to_owned())?;
                }
            }
            Ok(())
        },
    )?;
    settle_after_down(bed)?;
    check_alive(bed)
}
