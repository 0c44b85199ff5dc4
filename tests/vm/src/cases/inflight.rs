// SPDX-License-Identifier: GPL-2.0

//! Programs, ports and the module change while redirected frames are in flight.

use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::case,
    host::{cpus::free_deferred_skbs, ensure_eq, instruments, module, repeat_until, wait_until},
    nl::netdev::page_pools,
    stats::Snapshot,
    support::{
        steer::{last_cpu, veth, Chain, Steer},
        traffic::{check_alive, settle_after_down, while_sending, Source},
    },
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
    },
};
use anyhow::{anyhow, ensure, Result};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

const QUEUES: &str = "pairs=2 queues=4 ring_size=256";
const SENDERS: usize = 4;

/// ox1 redirects to ox2.
fn way(bed: &Bed) -> Result<(Chain, Steer)> {
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load()?;

    for port in chain.ports() {
        // Thousands of lines would push others out of the log.
        port.msglvl("drv off")?;
    }
    steer.device(0, &chain.second.a, None)?;
    steer.by_device(0)?;
    chain.up()?;
    Ok((chain, steer))
}

/// What ox1 redirected, ox2 has put on its wire or refused.
fn check_handed_on(ox1: &Snapshot, ox2: &Snapshot) -> Result<()> {
    ensure_eq!(
        ox2.counters.tx("xdp_xmit")? + ox2.counters.tx("xdp_xmit_errors")?,
        ox1.counters.rx("xdp_redirect")?,
        "ox2: xdp_xmit {} + xdp_xmit_errors {}, against redirects of ox1",
        ox2.counters.tx("xdp_xmit")?,
        ox2.counters.tx("xdp_xmit_errors")?
    );
    Ok(())
}

/// Frames that were redirected to a port.
fn handed_to(port: &Port) -> Result<u64> {
    let counters = port.counters()?;

    Ok(counters.tx("xdp_xmit")? + counters.tx("xdp_xmit_errors")?)
}

/// Waits until both wires are at rest and checks that every frame is accounted for.
fn settle_both(chain: &Chain) -> Result<[Snapshot; 4]> {
    let (ox0, ox1) = settle_after_down(&chain.first)?;
    let (ox2, ox3) = settle_after_down(&chain.second)?;

    check_handed_on(&ox1, &ox2)?;
    Ok([ox0, ox1, ox2, ox3])
}

case!(ports "inflight::programs_come_and_go", QUEUES, programs);
/// Attached, replaced and detached, at the port that redirects and at its target, under traffic on
/// all rings: each frame meets the old state or the new one.
fn programs(bed: &Bed) -> Result<()> {
    let (chain, steer) = way(bed)?;
    let mut other = Steer::load()?;
    let pass = Program::load("count", "count_pass")?;
    let at_target = Program::load("count", "count_drop")?;
    let sources = Source::new(&bed.a).times(SENDERS);

    // The other way round: out of where it came in.
    other.by_ifindex(bed.b.ifindex)?;
    while_sending(&sources, |_| {
        for n in 0..24 {
            // What the next state does to frames, by the counters.
            let done = || -> Result<u64> {
                match n % 4 {
                    0 => handed_to(&chain.second.a),
                    1 => pass.seen(),
                    2 => handed_to(&bed.b),
                    _ => bed.b.link()?.stat("rx_packets"),
                }
            };
            let before = done()?;
            match n % 4 {
                0 => bed.b.attach(&steer.program)?,
                1 => bed.b.attach(&pass)?,
                2 => bed.b.attach(&other.program)?,
                _ => bed.b.detach()?,
            }
            match n % 3 {
                0 => chain.second.a.attach(&at_target)?,
                1 => chain.second.a.detach()?,
                _ => {}
            }
            wait_until("each state meets frames", || Ok(done()? > before + 30))?;
        }
        Ok(())
    })?;

    let (ox0, ox1) = settle_after_down(&chain.first)?;
    let (ox2, ox3) = settle_after_down(&chain.second)?;
    let redirected = ox1.counters.rx("xdp_redirect")?;
    let sent_on = ox1.counters.tx("xdp_xmit")? + ox1.counters.tx("xdp_xmit_errors")?;
    ensure_eq!(
        sent_on + ox2.counters.tx("xdp_xmit")? + ox2.counters.tx("xdp_xmit_errors")?,
        redirected,
        "frames handed to ox1 and ox2, against redirects"
    );
    ensure_eq!(
        ox1.counters.rx("xdp_pass")?,
        pass.seen()?,
        "frames that were passed"
    );
    ensure_eq!(at_target.seen()?, 0, "frames the target's program saw");
    for snapshot in [&ox0, &ox1, &ox2, &ox3] {
        snapshot
            .counters
            .expect_rx(&snapshot.name, &[("xdp_redirect_errors", 0), ("down", 0)])?;
    }
    // Redirected frames, which go to the other ports, do not wait for buffers.
    ox1.counters.expect_rx("ox1", &[("no_buffer", 0)])?;
    ensure!(
        ox1.counters.rx_each("packets")?.iter().all(|n| *n > 0),
        "a ring had no traffic"
    );
    check_alive(&chain.first)?;
    check_alive(&chain.second)
}

/// Toggles ports of the chain under traffic, until frames were lost, which `lost` counts.
fn toggled(
    bed: &Bed,
    pick: impl Fn(&Chain) -> Vec<&Port>,
    lost: impl Fn(&Chain) -> Result<u64>,
) -> Result<()> {
    const TIMES: usize = 6;
    let (chain, steer) = way(bed)?;
    let sources = Source::new(&bed.a).may_fail().times(SENDERS);

    bed.b.attach(&steer.program)?;
    while_sending(&sources, |_| {
        let toggle = || {
            for port in pick(&chain) {
                // Frames have to flow, so that some are lost.
                let before = chain.second.b.link()?.stat("rx_packets")?;
                chain.second.b.wait_received(before + 20)?;
                port.down()?;
                port.up()?;
                chain.first.a.wait_running(true)?;
                chain.second.a.wait_running(true)?;
            }
            Ok(())
        };

        (0..TIMES).try_for_each(|_| toggle())?;
        repeat_until("going down meets a frame", toggle, || Ok(lost(&chain)? > 0))
    })?;
    chain.up()?;
    let snapshots = settle_both(&chain)?;
    snapshots[1].check_verdicts()?;
    bed.b.detach()?;
    check_alive(&chain.first)?;
    check_alive(&chain.second)
}

case!(ports "inflight::target_goes_down_and_up", QUEUES, target);
/// The port that frames are redirected to, and its peer, go down and come up.
fn target(bed: &Bed) -> Result<()> {
    toggled(
        bed,
        |chain| vec![&chain.second.a, &chain.second.b],
        |chain| {
            Ok(chain.first.b.counters()?.rx("xdp_redirect_errors")?
                + chain.second.a.counters()?.tx("xdp_xmit_errors")?)
        },
    )
}

case!(ports "inflight::source_goes_down_and_up", QUEUES, source);
/// The port that redirects goes down, while buffers of its rings are elsewhere.
fn source(bed: &Bed) -> Result<()> {
    toggled(
        bed,
        |chain| vec![&chain.first.b],
        |Chain { first, .. }| {
            Ok(first.b.counters()?.rx("down")? + first.a.counters()?.tx("carrier")?)
        },
    )
}

/// Pages of pools that their driver has given up.
fn pages_out(port: &Port) -> Result<u64> {
    Ok(port
        .ns
        .enter(page_pools)?
        .iter()
        .filter(|pool| pool.detached)
        .filter_map(|pool| pool.inflight)
        .sum())
}

case!(ports "inflight::rmmod_with_frames_for_a_processor", "queues=2", rmmod_cpu);
/// Frames wait for a CPU when their port and its module go. Which of the two is faster, the removal
/// or the CPU, is chance.
fn rmmod_cpu(bed: &Bed) -> Result<()> {
    let mut bed = bed.clone();
    let mut loaded = true;

    wait_until("frames wait when the module is gone", || {
        if !loaded {
            module::load("queues=2")?;
            bed = Bed {
                a: Port::moved("ox0", &bed.a.ns)?,
                b: Port::moved("ox1", &bed.b.ns)?,
            };
        }
        loaded = false;
        removed_before_cpu(&bed)
    })
}

/// Sends frames to a CPU and removes the module. Returns whether the CPU was not done by then.
fn removed_before_cpu(bed: &Bed) -> Result<bool> {
    // The module waits for grace periods, each of which may take as long as a batch of eight.
    const COUNT: u32 = 1000;
    let mut steer = Steer::load()?;
    let slow = steer.program.load_more(if instruments::present() {
        "cpu_slower"
    } else {
        "cpu_slow"
    })?;

    let cpu = last_cpu()?;
    steer.cpu(cpu, Some(&slow))?;
    steer.by_cpu(cpu)?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    Sender::open(&bed.a)?.send_flow(&Probe::new(1, 0).len(1000), COUNT)?;
    bed.b.wait_received(COUNT.into())?;
    bed.b
        .counters()?
        .expect_rx("ox1", &[("xdp_redirect", COUNT.into())])?;
    module::unload()?;
    ensure!(!module::is_loaded(), "the module is still there");
    let waiting = pages_out(&bed.b)? > 0 && steer.seen()? < COUNT.into();
    // None of them is lost.
    wait_until("all frames have been worked off", || {
        Ok(steer.seen()? == u64::from(COUNT))
    })?;
    wait_until("all pages are back", || {
        free_deferred_skbs()?;
        Ok(pages_out(&bed.b)? == 0)
    })?;
    Ok(waiting)
}

case!(ports "inflight::rmmod_with_frames_beyond_veth", "queues=2", rmmod_veth);
/// Frames that went through a veth pair wait in a socket of its far end, in buffers of a port whose
/// module is unloaded. They keep their bytes, and the pages return to their pool when the frames
/// are read.
fn rmmod_veth(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 200;
    let (near, far) = veth(&bed.b.ns, 1500)?;
    let mut steer = Steer::load()?;
    let probe = Probe::new(1, 0).len(1000);

    steer.device(0, &near, None)?;
    steer.by_device(0)?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    let tap = Tap::open(&far)?;
    Sender::open(&bed.a)?.send_flow(&probe, COUNT)?;
    wait_until("all frames are beyond the veth pair", || {
        Ok(far.link()?.stat("rx_packets")? >= COUNT.into())
    })?;
    module::unload()?;
    ensure!(!module::is_loaded(), "the module is still there");
    wait_until("all other pages are back", || {
        free_deferred_skbs()?;
        Ok(pages_out(&bed.b)? == u64::from(COUNT))
    })?;

    for (found, seq) in tap.probes(COUNT as usize)?.into_iter().zip(0..) {
        ensure_eq!(
            found,
            Probe {
                seq,
                ..probe.clone()
            },
            "frame read after rmmod"
        );
    }
    wait_until("all pages are back", || {
        free_deferred_skbs()?;
        Ok(pages_out(&bed.b)? == 0)
    })
}

case!(ports "inflight::rmmod_of_source_and_target", QUEUES, rmmod);
/// Both ports of a redirect are removed at once, under traffic.
fn rmmod(bed: &Bed) -> Result<()> {
    let (chain, steer) = way(bed)?;
    let sources = Source::new(&bed.a).may_fail().times(SENDERS);
    let gone = AtomicBool::new(false);

    bed.b.attach(&steer.program)?;
    while_sending(&sources, |traffic| {
        chain.second.b.wait_received(300)?;
        thread::scope(|scope| {
            // A thread that reads counters meanwhile.
            let reader = scope.spawn(|| {
                while !gone.load(Ordering::Relaxed) {
                    let _ = chain.second.a.link();
                }
            });
            let unloaded = module::unload();

            gone.store(true, Ordering::Relaxed);
            reader.join().map_err(|_| anyhow!("the reader panicked"))?;
            unloaded
        })?;
        ensure!(!module::is_loaded(), "the module is still there");
        traffic.wait_all_refused()
    })
}
