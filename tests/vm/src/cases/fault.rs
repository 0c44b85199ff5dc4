// SPDX-License-Identifier: GPL-2.0

//! Allocations that fail, one after the other: a change is made as a whole or not at all, and frames that
//! find no memory are dropped and counted. Needs a kernel with fault injection.

use super::traffic::{check_alive, settle_wire, wait_flowing, while_sending, Source};
use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::Case,
    host::{
        ensure_eq,
        fault::{self, Faults},
        module,
        netns::Netns,
        wait_until,
    },
    nl::{ethtool, link, Refused},
};
use anyhow::{anyhow, ensure, Context, Result};
use nix::errno::Errno;

const SMALL: &str = "queues=2 ring_size=64";
/// More allocations than any change needs.
const MOST: u32 = 1000;

pub fn cases() -> Vec<Case> {
    [
        Case::bare("fault::load", load),
        Case::ports("fault::open", SMALL, open),
        Case::ports("fault::ring_size", SMALL, ring_size),
        Case::ports("fault::channels", SMALL, channels),
        Case::ports("fault::rss", SMALL, rss),
        Case::ports("fault::mtu", SMALL, mtu),
        Case::ports("fault::attach", SMALL, attach),
        Case::ports("fault::rules", SMALL, rules),
        Case::ports("fault::traffic", SMALL, traffic),
        Case::ports("fault::no_pages", SMALL, no_pages),
    ]
    .map(|case| case.needs(fault::is_there))
    .into()
}

/// What the user sees of a port's settings.
#[derive(Debug, PartialEq)]
struct State {
    up: bool,
    mtu: u64,
    program: Option<u32>,
    ethtool: Vec<String>,
}

impl State {
    fn of(port: &Port) -> Result<Self> {
        let link = port.link()?;
        Ok(Self {
            up: is_up(port)?,
            mtu: link.mtu,
            program: link.xdp_driver_id,
            ethtool: ["-g", "-l", "-x", "-c", "-a", "-k", "-n"]
                .into_iter()
                .map(|option| port.ethtool(option, ""))
                .collect::<Result<_>>()?,
        })
    }
}

fn is_up(port: &Port) -> Result<bool> {
    let text = port.ns.ip(&format!("-o link show dev {}", port.name))?;
    let flags = text
        .split(['<', '>'])
        .nth(1)
        .ok_or_else(|| anyhow!("no flags in {text}"))?;
    Ok(flags.split(',').any(|flag| flag == "UP"))
}

/// Makes `change` again and again; each time another of its allocations fails, until there is none left.
/// It is made or refused, as the kernel says, and nothing in between. Returns how many have failed.
fn each_fails(
    bed: &Bed,
    change: impl Fn(u32) -> Result<()> + Sync,
    undo: impl Fn() -> Result<()>,
) -> Result<u32> {
    let faults = Faults::below_module()?;
    let port = &bed.b;
    for n in 1..=MOST {
        let before = State::of(port)?;
        let (outcome, failed) = port.ns.enter(|| faults.nth(n, || change(port.ifindex)))?;
        let after = State::of(port)?;
        let made = match outcome.map_err(anyhow::Error::downcast::<Refused>) {
            Ok(()) => true,
            Err(Ok(refused)) => {
                ensure_eq!(refused.errno, Errno::ENOMEM, "allocation {n}: {refused}");
                false
            }
            Err(Err(error)) => return Err(error),
        };
        ensure!(
            made == (after != before),
            "allocation {n} failed: {before:?} became {after:?}, made: {made}"
        );
        if after.up {
            check_alive(bed).with_context(|| format!("after allocation {n} failed"))?;
        }
        if made {
            undo()?;
        }
        if !failed {
            ensure!(made, "refused although memory was there");
            return Ok(n - 1);
        }
    }
    Err(anyhow!("more than {MOST} allocations"))
}

/// As [`each_fails`], for what cannot do without memory.
fn some_fail(
    bed: &Bed,
    change: impl Fn(u32) -> Result<()> + Sync,
    undo: impl Fn() -> Result<()>,
) -> Result<()> {
    let count = each_fails(bed, change, undo)?;
    ensure!(count > 0, "nothing was allocated");
    eprintln!("    {count} allocations failed");
    check_alive(bed)
}

/// The module is loaded as a whole or not at all.
fn load() -> Result<()> {
    const PARAMS: &str = "pairs=2 queues=2 ring_size=64";
    module::load(PARAMS)?;
    let faults = Faults::below_module()?;
    module::unload()?;
    for n in 1..=MOST {
        let (outcome, failed) = faults.nth(n, || module::try_load(PARAMS))?;
        match outcome? {
            Ok(()) => module::unload()?,
            Err(errno) => {
                ensure_eq!(errno, Errno::ENOMEM, "allocation {n}");
                ensure!(!module::is_loaded(), "allocation {n}: the module stays");
                let links = Netns::initial().ip("-br link")?;
                ensure!(!links.contains("ox"), "allocation {n}: {links}");
            }
        }
        if !failed {
            ensure!(n > 1, "nothing was allocated");
            eprintln!("    {} allocations failed", n - 1);
            return Ok(());
        }
    }
    Err(anyhow!("more than {MOST} allocations"))
}

fn open(bed: &Bed) -> Result<()> {
    bed.a.set("up")?;
    some_fail(
        bed,
        |ifindex| link::set_up(ifindex, true),
        || {
            check_alive(bed)?;
            bed.b.set("down")
        },
    )?;
    bed.up()?;
    check_alive(bed)
}

fn ring_size(bed: &Bed) -> Result<()> {
    bed.up()?;
    some_fail(
        bed,
        |ifindex| ethtool::set_rx_ring(ifindex, 128),
        || bed.b.ethtool("-G", "rx 64").map(drop),
    )
}

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

fn rss(bed: &Bed) -> Result<()> {
    bed.up()?;
    let table = [1; 128];
    let rss = ethtool::Rss {
        table: Some(&table),
        ..Default::default()
    };
    some_fail(
        bed,
        |ifindex| ethtool::set_rss_of(ifindex, &rss),
        || bed.b.ethtool("-X", "default").map(drop),
    )
}

fn mtu(bed: &Bed) -> Result<()> {
    bed.up()?;
    each_fails(
        bed,
        |ifindex| link::set_mtu(ifindex, 9000),
        || bed.b.set("mtu 1500"),
    )?;
    check_alive(bed)
}

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

/// The command that adds a rule allocates too, but not below the module.
fn rules(bed: &Bed) -> Result<()> {
    const ROUNDS: u32 = 20;
    let faults = Faults::below_module()?;
    let port = &bed.b;
    let mut refused = 0;
    bed.up()?;
    for n in 0..ROUNDS {
        let before = State::of(port)?;
        faults.while_failing(50, || {
            let added = port.ethtool("-N", "flow-type tcp4 dst-port 80 action 1 loc 3");
            refused += u32::from(added.is_err());
            let after = State::of(port)?;
            ensure_eq!(added.is_ok(), after != before, "round {n}: {added:?}");
            Ok(())
        })?;
        check_alive(bed)?;
        if State::of(port)? != before {
            port.ethtool("-N", "delete 3")?;
        }
    }
    ensure!(
        (1..ROUNDS).contains(&refused),
        "{refused} of {ROUNDS} rules were refused"
    );
    Ok(())
}

/// What the rings could not get, in skbs and in buffers.
fn failures(port: &Port) -> Result<[u64; 2]> {
    let counters = port.counters()?;
    Ok([
        counters.rx("skb_alloc_fail")?,
        counters.rx("buf_alloc_fail")?,
    ])
}

/// What rings need is missing for a while, which `failing` sees to, until `short` says so of the
/// [`failures`] of both ports. Frames that come later get through.
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

/// Frames that find no memory are dropped and counted, and those that come later are not.
fn traffic(bed: &Bed) -> Result<()> {
    let faults = Faults::below_module()?;

    for_a_while(
        bed,
        |until_short| faults.while_failing(30, until_short),
        |[skbs, _]| skbs > 10,
    )
}

/// Rings that get no pages for a while fill up again.
fn no_pages(bed: &Bed) -> Result<()> {
    for_a_while(
        bed,
        |until_short| fault::while_null("page_pool_alloc_netmems", until_short),
        |[_, buffers]| buffers > 0,
    )
}
