// SPDX-License-Identifier: GPL-2.0

//! Allocations that fail, one after the other: a change is made as a whole or not at all, and
//! frames that find no memory are dropped and counted. Needs a kernel with fault injection.

use crate::{
    bed::{port_names, Bed, Port},
    bpf::Program,
    harness::case,
    host::{
        ensure_eq,
        fault::{self, Faults},
        kmsg::Kmsg,
        module, wait_until,
    },
    nl::{
        ethtool,
        link::{self, LinkAttribute, New},
        Refused,
    },
    support::{
        buffers::JUMBO,
        large::{self, Large},
        ports::exchange,
        traffic::{check_alive, settle_wire, wait_flowing, while_sending, Source},
    },
    wire::{
        frames::CTAG,
        packet::{Sender, Tap},
        probe::Probe,
        Mac,
    },
};
use anyhow::{anyhow, ensure, Context, Result};
use nix::{errno::Errno, net::if_::if_nameindex};
use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

const SMALL: &str = "queues=2 ring_size=64";
/// A receive side scaling table that sends all flows to one ring.
const TABLE: [u32; 128] = [1; 128];
/// Whether a port still works is tried after every so many refusals, or changes that were made.
const CHECKED: u32 = 8;
/// What the ethtool netlink family tells of a port.
const ASKED: [(&str, u8); 5] = [
    ("features", ethtool::ETHTOOL_MSG_FEATURES_GET),
    ("rings", ethtool::ETHTOOL_MSG_RINGS_GET),
    ("channels", ethtool::ETHTOOL_MSG_CHANNELS_GET),
    ("moderation", ethtool::ETHTOOL_MSG_COALESCE_GET),
    ("flow control", ethtool::ETHTOOL_MSG_PAUSE_GET),
];

/// What the user sees of a port's settings except the rules, and of the other links, by subject. It
/// is compared often and commands are slow on the debug kernel, so netlink is asked.
#[derive(PartialEq)]
struct State(Vec<(&'static str, String)>);

impl State {
    fn of(port: &Port) -> Result<Self> {
        let link = port.link()?;
        let links: Vec<_> = port.ns.enter(|| {
            Ok(if_nameindex()?
                .iter()
                .map(|link| link.name().to_owned())
                .collect())
        })?;
        let answers = ethtool::get_each(port, &ASKED.map(|(_, command)| command))?;
        let mut state = vec![
            ("up", link.up.to_string()),
            ("MTU", link.mtu.to_string()),
            ("program", format!("{:?}", link.xdp_driver_id)),
            ("links", format!("{links:?}")),
            ("RSS", format!("{:?}", ethtool::all_rss(port)?)),
        ];
        state.extend(
            ASKED
                .iter()
                .zip(answers)
                .map(|((name, _), answer)| (*name, format!("{answer:?}"))),
        );
        Ok(Self(state))
    }

    /// What differs between the two.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        self.0
            .iter()
            .zip(&other.0)
            .filter(|(mine, its)| mine != its)
            .map(|((name, _), _)| *name)
            .collect()
    }
}

/// Makes `change` again and again; each time another of its allocations fails, until there is none
/// left. It is made or refused, as the kernel says, and nothing in between. Returns how many have
/// failed.
fn each_fails(
    bed: &Bed,
    change: impl Fn(u32) -> Result<()> + Sync,
    undo: impl Fn() -> Result<()>,
) -> Result<u32> {
    let faults = Faults::below_module()?;
    let port = &bed.b;
    let mut before = State::of(port)?;
    fault::one_after_the_other(1, |n| {
        let (outcome, failed) = port.ns.enter(|| faults.nth(n, || change(port.ifindex)))?;
        let after = State::of(port)?;
        let made = match outcome.map_err(anyhow::Error::downcast::<Refused>) {
            Ok(()) => true,
            Err(Ok(refused)) => {
                ensure_eq!(refused.errno, Errno::ENOMEM, "{refused}");
                false
            }
            Err(Err(error)) => return Err(error),
        };
        let different = after.differences(&before);
        ensure!(
            made != different.is_empty(),
            "made: {made}, different: {different:?}"
        );
        ensure!(made || failed, "refused although memory was there");
        if (made || n % CHECKED == 0) && port.link()?.up {
            check_alive(bed)?;
        }
        if made {
            undo()?;
            before = State::of(port)?;
        }
        Ok(failed)
    })
}

/// As [`each_fails`], for a change that cannot succeed without memory.
fn some_fail(
    bed: &Bed,
    change: impl Fn(u32) -> Result<()> + Sync,
    undo: impl Fn() -> Result<()>,
) -> Result<()> {
    let count = each_fails(bed, change, undo)?;
    ensure!(count > 0, "nothing was allocated");
    Ok(())
}

case!(bare "fault::load", load; with_faults());
/// The module is loaded as a whole or not at all. Loading it takes a debug kernel seconds, and
/// [`create`] looks at all that a port needs, so with ports only some allocations fail.
fn load() -> Result<()> {
    for (params, step) in [("pairs=0", 1), ("pairs=1 queues=1 ring_size=64", 7)] {
        module::load(params)?;
        let faults = Faults::below_module()?;
        module::unload()?;
        let count = fault::one_after_the_other(step, |n| {
            let (outcome, failed) = faults.nth(n, || module::try_load(params))?;
            match outcome? {
                Ok(()) => module::unload()?,
                Err(errno) => {
                    // A faux device does not tell why it cannot be created (`faux_device_create`).
                    let why = match errno {
                        Errno::ENODEV => Errno::ENOMEM,
                        errno => no_memory(errno),
                    };
                    ensure_eq!(why, Errno::ENOMEM, "why it was refused");
                    ensure!(failed, "refused although memory was there");
                    ensure!(!module::is_loaded(), "the module stays");
                    ensure_eq!(port_names()?, Vec::<String>::new(), "ports that stay");
                }
            }
            Ok(failed)
        })?;
        ensure!(count > 0, "{params}: nothing was allocated");
    }
    Ok(())
}

/// What the kernel calls missing memory where it registers a device: one for whose name there was
/// none (`dev_set_name`, which no one looks at) is invalid, and where there is none for the
/// neighbours' settings (`neigh_sysctl_register`) it lacks buffers.
fn no_memory(errno: Errno) -> Errno {
    match errno {
        Errno::EINVAL | Errno::ENOBUFS => Errno::ENOMEM,
        errno => errno,
    }
}

fn add_port(name: &str, new: New) -> Result<()> {
    new.add(name)
        .map_err(|error| match error.downcast::<Refused>() {
            Ok(refused) => Refused {
                errno: no_memory(refused.errno),
                ..refused
            }
            .into(),
            Err(error) => error,
        })
}

case!(ports "fault::create", SMALL, create; with_faults());
/// A port without a peer.
fn create(bed: &Bed) -> Result<()> {
    bed.up()?;
    some_fail(
        bed,
        |_| add_port("ox2", New::port()),
        || Port::find(&bed.b.ns, "ox2")?.delete(),
    )
}

case!(ports "fault::create_peer", SMALL, create_peer; with_faults());
/// A port that becomes the peer of one that has none.
fn create_peer(bed: &Bed) -> Result<()> {
    let ns = &bed.b.ns;
    bed.up()?;
    let a = Port::add(ns, "ox2", New::port())?;
    a.receive_probes()?;
    let works = || {
        let b = Port::find(ns, "ox3")?;
        b.receive_probes()?;
        let pair = Bed { a: a.clone(), b };
        pair.up()?;
        exchange(&pair, 10)
    };
    let made = Cell::new(0);
    some_fail(
        bed,
        |_| add_port("ox3", New::peer_of(a.ifindex)),
        || {
            // Frames take the debug kernel ten seconds, and most of these ports lack the same.
            if made.replace(made.get() + 1) % CHECKED == 0 {
                works()?;
            }
            Port::find(ns, "ox3")?.delete()
        },
    )?;
    ns.enter(|| add_port("ox3", New::peer_of(a.ifindex)))?;
    works()
}

case!(ports "fault::open", SMALL, open; with_faults());
fn open(bed: &Bed) -> Result<()> {
    bed.a.up()?;
    some_fail(bed, |ifindex| link::set_up(ifindex, true), || bed.b.down())?;
    bed.up()?;
    check_alive(bed)
}

case!(ports "fault::ring_size", SMALL, ring_size; with_faults());
fn ring_size(bed: &Bed) -> Result<()> {
    bed.up()?;
    some_fail(
        bed,
        |ifindex| ethtool::set_rx_ring(ifindex, 128),
        || bed.b.ethtool("-G", "rx 64").map(drop),
    )
}

case!(ports "fault::channels", SMALL, channels; with_faults());
fn channels(bed: &Bed) -> Result<()> {
    bed.up()?;
    bed.b.ethtool("-L", "combined 1")?;
    some_fail(
        bed,
        |ifindex| ethtool::set_channels(ifindex, 2),
        || bed.b.ethtool("-L", "combined 1").map(drop),
    )?;
    bed.b.ethtool("-L", "combined 2")?;
    some_fail(
        bed,
        |ifindex| ethtool::set_channels(ifindex, 1),
        || bed.b.ethtool("-L", "combined 2").map(drop),
    )
}

fn one_ring(context: u32) -> ethtool::Rss<'static> {
    ethtool::Rss {
        context,
        table: Some(&TABLE),
        ..Default::default()
    }
}

case!(ports "fault::rss", SMALL, rss; with_faults());
fn rss(bed: &Bed) -> Result<()> {
    bed.up()?;
    let rss = one_ring(0);
    some_fail(
        bed,
        |ifindex| ethtool::set_rss_of(ifindex, &rss),
        || bed.b.ethtool("-X", "default").map(drop),
    )
}

case!(ports "fault::mtu", SMALL, mtu; with_faults());
fn mtu(bed: &Bed) -> Result<()> {
    bed.up()?;
    each_fails(
        bed,
        |ifindex| link::change(ifindex, LinkAttribute::Mtu(JUMBO as u32)),
        || bed.b.set_mtu(1500),
    )?;
    check_alive(bed)
}

case!(ports "fault::attach", SMALL, attach; with_faults());
fn attach(bed: &Bed) -> Result<()> {
    let program = Program::load("count", "count_pass")?;
    let fd = program.fd()?;
    bed.up()?;
    each_fails(
        bed,
        |ifindex| link::set_xdp(ifindex, Some(fd), link::XDP_FLAGS_DRV_MODE, None),
        || bed.b.detach(),
    )?;
    check_alive(bed)
}

case!(ports "fault::rules", SMALL, rules; with_faults());
/// The command that adds a rule allocates too, but not below the module.
fn rules(bed: &Bed) -> Result<()> {
    const ROUNDS: u32 = 20;
    let faults = Faults::below_module()?;
    let port = &bed.b;
    let mut refused = 0;
    bed.up()?;
    let rules = || port.ethtool("-n", "");
    let none = rules()?;
    for n in 0..ROUNDS {
        let added = faults.while_failing(50, || {
            let added = port.ethtool("-N", "flow-type tcp4 dst-port 80 action 1 loc 3");
            ensure_eq!(added.is_ok(), rules()? != none, "round {n}: {added:?}");
            Ok(added.is_ok())
        })?;
        check_alive(bed)?;
        if added {
            port.ethtool("-N", "delete 3")?;
        } else {
            refused += 1;
        }
    }
    ensure!(
        (1..ROUNDS).contains(&refused),
        "{refused} of {ROUNDS} rules were refused"
    );
    Ok(())
}

case!(ports "fault::contexts", SMALL, contexts; with_faults());
fn contexts(bed: &Bed) -> Result<()> {
    let port = &bed.b;
    let new = || port.ethtool("-X", "context new").map(drop);
    bed.up()?;
    some_fail(
        bed,
        |ifindex| ethtool::create_rss_of(ifindex, &one_ring(0)).map(drop),
        || port.ethtool("-X", "context 1 delete").map(drop),
    )?;
    new()?;
    some_fail(
        bed,
        |ifindex| ethtool::set_rss_of(ifindex, &one_ring(1)),
        || port.ethtool("-X", "context 1 equal 2").map(drop),
    )?;
    some_fail(bed, |ifindex| ethtool::delete_rss_of(ifindex, 1), new)
}

case!(ports "fault::vlan", SMALL, vlan; with_faults());
/// The filter of the port has to let the VLAN in.
fn vlan(bed: &Bed) -> Result<()> {
    bed.b.ethtool("-K", "rx-vlan-filter on")?;
    bed.up()?;
    some_fail(
        bed,
        |ifindex| New::vlan(ifindex, CTAG, 5).add("vlan5"),
        || Port::find(&bed.b.ns, "vlan5")?.delete(),
    )
}

case!(ports "fault::filter", SMALL, filter; with_faults());
/// A filter that finds no memory is set later, when the kernel tries again.
fn filter(bed: &Bed) -> Result<()> {
    const NEW: Mac = [0x02, 0, 0, 0, 0, 0x78];
    const PATIENCE: Duration = Duration::from_millis(100);
    let faults = Faults::below_module()?;
    let mut log = Kmsg::from_now()?;
    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let tap = Tap::open(&bed.b)?;
    let frame = Probe {
        dst: NEW,
        ..Probe::new(0, 0)
    }
    .frame();

    faults.while_failing(100, || {
        bed.b.receive(&NEW)?;
        wait_until("the kernel hears that there is no memory", || {
            let lines = log.lines()?;
            Ok(lines
                .iter()
                .any(|line| line.text.contains("rx_mode install failed")))
        })?;
        sender.send(&frame)?;
        settle_wire(bed)?;
        ensure_eq!(
            bed.b.counters()?.dropped_by("mac_filter")?,
            1,
            "frames to an address that the port does not know yet"
        );
        Ok(())
    })?;
    wait_until("a frame to the new address is taken", || {
        sender.send(&frame)?;
        Ok(tap.next(PATIENCE)?.is_some())
    })?;
    settle_wire(bed)?;
    check_alive(bed)
}

/// What the rings could not get, in skbs and in buffers.
fn failures(port: &Port) -> Result<[u64; 2]> {
    let counters = port.counters()?;
    Ok([
        counters.rx("skb_alloc_fail")?,
        counters.rx("buf_alloc_fail")?,
    ])
}

/// Allocations for the rings fail while `failing` runs, until `short` accepts the [`failures`] of
/// both ports. Later frames get through.
fn for_a_while(
    bed: &Bed,
    failing: impl FnOnce(&dyn Fn() -> Result<()>) -> Result<()>,
    short: impl Fn([u64; 2]) -> bool,
) -> Result<()> {
    bed.up()?;
    let sources = [Source::new(&bed.a), Source::new(&bed.b)];
    while_sending(&sources, |_| {
        wait_flowing(bed, 100)?;
        failing(&|| {
            for port in [&bed.a, &bed.b] {
                wait_until("something is missing", || Ok(short(failures(port)?)))
                    .with_context(|| port.name.clone())?;
            }
            Ok(())
        })?;
        wait_flowing(bed, 1000)
    })?;
    settle_wire(bed)?;
    check_alive(bed)
}

case!(ports "fault::traffic", SMALL, traffic; with_faults());
/// Frames that find no memory are dropped and counted, and those that come later are not.
fn traffic(bed: &Bed) -> Result<()> {
    let faults = Faults::below_module()?;

    for_a_while(
        bed,
        |until_short| faults.while_failing(30, until_short),
        |[skbs, _]| skbs > 10,
    )
}

case!(ports "fault::no_pages", SMALL, no_pages; with_faults());
/// Rings that get no pages for a while fill up again.
fn no_pages(bed: &Bed) -> Result<()> {
    for_a_while(
        bed,
        |until_short| fault::while_null("page_pool_alloc_netmems", until_short),
        |[_, buffers]| buffers > 0,
    )
}

case!(ports "fault::few_pages", "queues=1 ring_size=64", few_pages; with_faults());
/// Hardly any pages for a while: polls end with a ring that is far from full. Neither large frames
/// nor single ones behind them are stuck, during the shortage or after it.
fn few_pages(bed: &Bed) -> Result<()> {
    const PERCENT: u64 = 90;
    const FRAMES: u64 = 500;
    // As many segments as the port takes from the stack at a time.
    let large = Large::new(28_000, 1000).frame();
    let stop = &AtomicBool::new(false);

    bed.up()?;
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let (single, socket) = (Probe::new(0, 0).frame(), Sender::open(&bed.a)?);
            let cut = large::open(&bed.a)?;
            while !stop.load(Ordering::Relaxed) {
                cut.send(&large)?;
                socket.send(&single)?;
            }
            Ok(())
        });
        let received = |frames| {
            let goal = bed.b.link()?.stat("rx_packets")? + frames;
            bed.b.wait_received(goal)
        };
        let outcome = received(FRAMES).and_then(|()| {
            fault::while_often_null("page_pool_alloc_netmems", PERCENT, || {
                let [_, before] = failures(&bed.b)?;
                received(FRAMES).context("while there are few pages")?;
                wait_until("a page is missing", || {
                    let [_, after] = failures(&bed.b)?;
                    Ok(after > before)
                })
            })?;
            received(FRAMES).context("when there are pages again")
        });
        stop.store(true, Ordering::Relaxed);
        let sent = sender.join().map_err(|_| anyhow!("the sender panicked"))?;
        outcome.and(sent)
    })?;
    settle_wire(bed)?;
    check_alive(bed)
}
