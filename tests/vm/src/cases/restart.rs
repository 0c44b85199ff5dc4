// SPDX-License-Identifier: GPL-2.0

//! One receive queue is restarted while the others go on (`restart_queue` in debugfs).

use crate::{
    bed::{Bed, Port, NS_A},
    harness::case,
    host::{
        cmd, ensure_eq,
        fault::{self, Faults},
        kmsg::Kmsg,
        module,
        netns::Netns,
        wait_until,
    },
    nl::netdev::{self, NapiSettings},
    support::{
        buffers::JUMBO,
        changes::under_traffic,
        polls::{poll_in_threads, slow_down},
        probes::send_all,
        qstats::check_first,
        restart::{restart, write, FILE},
        steer::Steer,
        traffic::{check_alive, settle, settle_wire, wait_flowing, while_sending, Source},
    },
    wire::{probe::Probe, xsk::Xsk},
};
use anyhow::{anyhow, ensure, Context, Result};
use nix::{errno::Errno, libc};
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
};

/// A receive queue as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Queue {
    napi: u64,
    irq: Option<u64>,
    settings: NapiSettings,
    pool: u64,
}

/// The receive queues of a port, by number. None of its pools waits for pages.
fn queues(port: &Port) -> Result<Vec<Queue>> {
    let (queues, napis, pools) = port.ns.enter(|| {
        Ok((
            netdev::queues(port.ifindex)?,
            netdev::napis(port.ifindex)?,
            netdev::page_pools()?,
        ))
    })?;
    let pools: Vec<_> = pools
        .iter()
        .filter(|pool| pool.ifindex == Some(port.ifindex.into()))
        .collect();
    let mut queues: Vec<_> = queues.iter().filter(|queue| queue.receives).collect();

    ensure_eq!(pools.len(), queues.len(), "{}: page pools", port.name);
    queues.sort_by_key(|queue| queue.id);
    queues
        .into_iter()
        .map(|queue| {
            let id = queue
                .napi
                .ok_or_else(|| anyhow!("{}: queue {} has no NAPI", port.name, queue.id))?;
            let napi = napis
                .iter()
                .find(|napi| napi.id == id)
                .ok_or_else(|| anyhow!("{}: there is no NAPI {id}", port.name))?;
            let pool = pools
                .iter()
                .find(|pool| pool.napi == Some(id))
                .ok_or_else(|| anyhow!("{}: NAPI {id} has no page pool", port.name))?;

            Ok(Queue {
                napi: id,
                irq: napi.irq,
                settings: napi.settings,
                pool: pool.id,
            })
        })
        .collect()
}

case!(ports "restart::under_traffic", "queues=4", traffic);
/// Frames in both directions, programs on both ports: nothing is lost, every frame has one verdict.
fn traffic(bed: &Bed) -> Result<()> {
    under_traffic(bed, |queue, port| restart(port, queue), &[0, 1, 2, 3, 3, 0])?;
    for port in [&bed.a, &bed.b] {
        check_first(port, 4)?;
    }
    Ok(())
}

case!(ports "restart::with_slow_program", "queues=2 ring_size=64", slow_program);
/// Rings are full when they go, and the senders wait for the new ones.
fn slow_program(bed: &Bed) -> Result<()> {
    bed.up()?;
    poll_in_threads(&bed.b)?;
    let program = slow_down(&bed.b)?;
    while_sending(&Source::new(&bed.a).times(2), |_| {
        for queue in [0, 1, 0] {
            let stopped = || bed.a.counters()?.tx("stopped");
            let before = stopped()?;

            wait_until("a sender waits for buffers", || Ok(stopped()? > before))?;
            restart(&bed.b, queue)?;
        }
        Ok(())
    })?;
    let (_, b) = settle_wire(bed)?;

    b.check_verdicts()?;
    b.counters.expect_rx("ox1", &[("no_buffer", 0)])?;
    ensure_eq!(
        program.seen()?,
        b.counters.rx("packets")?,
        "frames that the program saw"
    );
    bed.b.detach()?;
    check_alive(bed)
}

case!(ports "restart::without_flow_control", "queues=2 ring_size=64", without_flow_control);
/// A sender without flow control loses frames meanwhile, counted as for lack of buffers.
fn without_flow_control(bed: &Bed) -> Result<()> {
    bed.up()?;
    bed.b.ethtool("-A", "tx off")?;
    while_sending(&Source::new(&bed.a).times(2), |_| {
        for round in 0..20 {
            restart(&bed.b, round % 2)?;
        }
        bed.b.wait_received(1000)
    })?;
    let (a, b) = settle_wire(bed)?;

    b.counters.expect_rx("ox1", &[("down", 0)])?;
    a.counters
        .expect_tx("ox0", &[("carrier", 0), ("stopped", 0), ("dropped", 0)])?;
    check_alive(bed)
}

case!(ports "restart::what_stays", "queues=4", what_stays);
/// The queue has a new page pool, and the old one is gone with all its pages. Its NAPI, the
/// interrupt and the user's settings are as before, and so are the other queues.
fn what_stays(bed: &Bed) -> Result<()> {
    bed.up()?;
    let settings = NapiSettings {
        defer_hard_irqs: 3,
        gro_flush_timeout: 20_000,
        ..NapiSettings::default()
    };
    let id = queues(&bed.b)?[2].napi;
    bed.b.ns.enter(|| netdev::set_napi(id, &settings))?;
    for queue in [2, 0, 3, 1, 2] {
        check_alive(bed)?;
        let before = queues(&bed.b)?;
        let other = queues(&bed.a)?;
        restart(&bed.b, queue as u64)?;
        wait_until("the old page pool is gone", || {
            let pools = bed.b.ns.enter(netdev::page_pools)?;
            Ok(pools.iter().all(|pool| pool.id != before[queue].pool))
        })?;
        let after = queues(&bed.b)?;

        ensure!(
            before.iter().all(|old| old.pool != after[queue].pool),
            "queue {queue}: page pools {before:?} became {after:?}"
        );
        let expected: Vec<_> = (0..)
            .zip(before.iter().cloned())
            .map(|(number, old)| Queue {
                pool: if number == queue {
                    after[queue].pool
                } else {
                    old.pool
                },
                ..old
            })
            .collect();
        ensure_eq!(after, expected, "after the restart of queue {queue}");
        ensure_eq!(queues(&bed.a)?, other, "the other port");
    }
    ensure_eq!(
        queues(&bed.b)?[2].settings,
        settings,
        "settings of the NAPI of queue 2"
    );
    check_alive(bed)
}

case!(ports "restart::refused", "queues=4", refused);
/// What cannot be done is refused with a reason, and everything goes on.
fn refused(bed: &Bed) -> Result<()> {
    const FORM: &str = "must be a port and one of its receive queues: \"ox0 3\"";
    bed.up()?;
    let before = queues(&bed.b)?;
    let here = &bed.b.ns;
    let there = Netns::existing(NS_A);
    let long = format!("ox1 {:>100}", 0);
    let mut log = Kmsg::from_now()?;

    for (from, text, errno, reason) in [
        (here, "\n", Errno::EINVAL, FORM),
        (here, "ox1", Errno::EINVAL, FORM),
        (here, "ox1 ", Errno::EINVAL, FORM),
        (here, "ox1 x", Errno::EINVAL, FORM),
        (here, "ox1 -1", Errno::EINVAL, FORM),
        (here, "ox1 0 0", Errno::EINVAL, FORM),
        (here, "ox1 4294967296", Errno::EINVAL, FORM),
        (here, &long, Errno::EINVAL, ""),
        (
            here,
            "ox9 0",
            Errno::ENODEV,
            "no port ox9 in this network namespace",
        ),
        (
            here,
            "lo 0",
            Errno::ENODEV,
            "no port lo in this network namespace",
        ),
        (
            &there,
            "ox1 0",
            Errno::ENODEV,
            "no port ox1 in this network namespace",
        ),
        (
            here,
            "a_name_that_is_too_long 0",
            Errno::ENODEV,
            "no port a_name_that_is_too_long in this network namespace",
        ),
        (
            here,
            "ox1 4",
            Errno::ERANGE,
            "ox1: no receive queue 4, there are 4",
        ),
        (
            here,
            "ox1 4294967295",
            Errno::ERANGE,
            "ox1: no receive queue 4294967295, there are 4",
        ),
    ] {
        log.forget()?;
        ensure_eq!(write(from, text)?, Err(errno), "\"{text}\"");
        let lines = log.starting_with("oxnic: restart_queue: ")?;
        ensure!(
            reason.is_empty() || lines.iter().any(|line| line.ends_with(reason)),
            "\"{text}\": expected \"{reason}\", found {lines:?}"
        );
    }
    bed.b.ethtool("-L", "combined 2")?;
    ensure_eq!(
        write(here, "ox1 2")?,
        Err(Errno::ERANGE),
        "a queue that is not in use"
    );
    ensure_eq!(queues(&bed.b)?, before[..2], "queues after all");
    // Blanks do not matter.
    ensure_eq!(write(here, " ox1  1 \n")?, Ok(()), "with blanks");
    check_alive(bed)
}

case!(ports "restart::while_down", "queues=2", while_down);
/// A port that is down has no rings that could be made again.
fn while_down(bed: &Bed) -> Result<()> {
    let mut log = Kmsg::from_now()?;
    let mut down = || -> Result<()> {
        log.forget()?;
        ensure_eq!(
            write(&bed.b.ns, "ox1 1")?,
            Err(Errno::ENETDOWN),
            "restart while down"
        );
        ensure_eq!(
            log.starting_with("oxnic: restart_queue: ")?,
            ["oxnic: restart_queue: ox1: the port is down"],
            "reason"
        );
        Ok(())
    };

    down()?;
    bed.up()?;
    restart(&bed.b, 1)?;
    check_alive(bed)?;
    bed.b.down()?;
    down()?;
    bed.up()?;
    check_alive(bed)?;
    // The peer's state does not matter.
    bed.a.down()?;
    restart(&bed.b, 1)?;
    bed.up()?;
    check_alive(bed)
}

case!(ports "restart::with_socket", "queues=2", with_socket);
/// An AF_XDP socket goes on to get the frames of its queue.
fn with_socket(bed: &Bed) -> Result<()> {
    let socket = Xsk::open(&bed.b, 1, 4096, false)?;
    let mut steer = Steer::load()?;

    steer.socket(1, &socket)?;
    steer.by_socket()?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    bed.b.ethtool("-X", "start 1 equal 1")?;
    for (seq, queue) in [0, 1, 0, 1, 1].into_iter().enumerate() {
        restart(&bed.b, queue)?;
        let probe = Probe::new(1, seq as u32);
        send_all(bed, std::slice::from_ref(&probe))?;
        ensure_eq!(
            Probe::parse(&socket.any()?)?,
            Some(probe),
            "frame in the socket"
        );
    }
    socket.silence()?;
    ensure_eq!(socket.dropped()?, 0, "frames the socket dropped");
    let (_, b) = settle(bed)?;
    b.check_verdicts()?;
    b.counters.expect_rx("ox1", &[("xdp_redirect", 5)])
}

case!(ports "restart::and_other_changes", "queues=4", and_other_changes);
/// Between other changes of the rings, each of which still works.
fn and_other_changes(bed: &Bed) -> Result<()> {
    bed.up()?;
    while_sending(&[Source::new(&bed.a), Source::new(&bed.b)], |_| {
        for (option, what) in [
            ("-L", "combined 2"),
            ("-G", "rx 128"),
            ("-L", "combined 4"),
            ("-X", "weight 1 1 1 0"),
            ("-L", "combined 3"),
            ("-G", "rx 1024"),
            ("-X", "default"),
            ("-L", "combined 1"),
            ("-L", "combined 4"),
        ] {
            bed.b.ethtool(option, what)?;
            for queue in 0..queues(&bed.b)?.len() as u64 {
                restart(&bed.b, queue).with_context(|| format!("after {option} {what}"))?;
            }
            wait_flowing(bed, 100).with_context(|| format!("after {option} {what}"))?;
        }
        Ok(())
    })?;
    let (_, b) = settle_wire(bed)?;
    b.counters
        .expect_rx("ox1", &[("no_buffer", 0), ("down", 0)])?;
    bed.b.set_mtu(JUMBO)?;
    restart(&bed.b, 3)?;
    bed.b.set_mtu(1500)?;
    bed.b.down()?;
    bed.up()?;
    check_alive(bed)
}

case!(ports "restart::only_root", "queues=1", only_root);
/// No one but root may write to the file, and no one may read it.
fn only_root(bed: &Bed) -> Result<()> {
    bed.up()?;
    let before = queues(&bed.b)?;
    let file = fs::metadata(FILE)?;
    let refusal = cmd::refusal(&format!("{} dd if=/dev/null of={FILE}", cmd::AS_NOBODY))?;

    ensure_eq!(file.permissions().mode() & 0o7777, 0o200, "mode of {FILE}");
    ensure_eq!((file.uid(), file.gid()), (0, 0), "owner of {FILE}");
    ensure!(
        refusal.contains("Permission denied"),
        "nobody writes: {refusal}"
    );
    ensure_eq!(queues(&bed.b)?, before, "queues");
    check_alive(bed)
}

case!(ports "restart::module_goes", "queues=1", module_goes);
/// A file that is still open after the module was unloaded does nothing.
fn module_goes(bed: &Bed) -> Result<()> {
    bed.up()?;
    let mut file = OpenOptions::new().write(true).open(FILE)?;

    module::unload()?;
    ensure!(!module::is_loaded(), "the module is still there");
    let error = match file.write(b"ox1 0") {
        Ok(_) => None,
        Err(error) => error.raw_os_error(),
    };
    ensure_eq!(error, Some(libc::EIO), "writing after the module went");
    drop(file);
    ensure_eq!(
        File::open(FILE).map(drop).map_err(|error| error.kind()),
        Err(ErrorKind::NotFound),
        "{FILE}"
    );
    Ok(())
}

case!(ports "restart::without_memory", "queues=2 ring_size=64", without_memory; with_faults());
/// Whatever allocation fails: the queue is restarted or goes on as it was.
fn without_memory(bed: &Bed) -> Result<()> {
    bed.up()?;
    let faults = Faults::below_module()?;
    let count = fault::one_after_the_other(1, |n| {
        let before = queues(&bed.b)?;
        let (outcome, failed) = bed
            .b
            .ns
            .enter(|| faults.nth(n, || write(&Netns::initial(), "ox1 1")))?;
        let outcome = outcome?;
        ensure!(
            outcome == Ok(()) || (failed && outcome == Err(Errno::ENOMEM)),
            "{outcome:?}"
        );
        wait_until("no page pool waits", || Ok(queues(&bed.b).is_ok()))?;
        ensure_eq!(
            queues(&bed.b)? == before,
            outcome.is_err(),
            "whether the queues stayed as they were"
        );
        check_alive(bed)?;
        Ok(failed)
    })?;
    ensure!(count > 0, "nothing was allocated");
    Ok(())
}
