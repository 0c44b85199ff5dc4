// SPDX-License-Identifier: GPL-2.0

//! The module's tracepoints: what is recorded, and that nothing is while they are off.

use crate::{
    bed::{Bed, Port},
    bpf::{Program, Verdicts},
    harness::case,
    host::{
        ensure_eq,
        kmsg::Kmsg,
        rcu,
        tracefs::{clear_warn_once, Trace},
        wait_until,
    },
    support::{
        buffers::{BUFFER, JUMBO},
        held::Held,
        probes, restart,
        steer::{Chain, Steer, BROADCAST},
        verdict::{probe_each, set_cpumap, with_names},
        xsk::wait_free,
    },
    wire::{
        packet::Sender,
        probe::{verdict, Probe},
        xsk::socket::{Mode, Setup, Socket},
        ETH,
    },
};
use anyhow::{ensure, Result};
use nix::errno::Errno;

/// The events about a port, without the fields that name it.
fn events(trace: &Trace, port: &Port) -> Result<Vec<String>> {
    let prefix = format!("dev={} ifindex={} ", port.name, port.ifindex);

    Ok(trace
        .all()?
        .into_iter()
        .filter_map(|(event, fields)| {
            let rest = fields.strip_prefix(&prefix)?;

            Some(format!("{event}: {rest}"))
        })
        .collect())
}

/// Waits for as many events as are expected, as a poll may still be recording; then compares them
/// all, and forgets them.
fn expect(trace: &Trace, port: &Port, what: &str, expected: &[String]) -> Result<()> {
    let mut found = Vec::new();

    // A timeout is no error here: the comparison below says more.
    let _ = wait_until("the events are complete", || {
        found = events(trace, port)?;
        Ok(found.len() >= expected.len())
    });
    ensure_eq!(found, expected, "{what}: events");
    trace.clear()
}

/// Sends frames one at a time, and waits for the end of the poll of the last one.
fn send_each(bed: &Bed, frames: &[Probe]) -> Result<()> {
    probes::send_each(bed, frames)?;
    rcu::grace_period()
}

/// The events of one `ndo_bpf`.
fn setup(name: &str, old: u32, new: u32, rings: usize) -> Vec<String> {
    let mut events = vec![
        format!("xdp_setup_prog: prog_id={new} prog_name={name}"),
        format!("xdp_prog_xchg: old_prog_id={old} new_prog_id={new}"),
    ];

    events.extend((0..rings).map(|n| format!("xdp_prog_write_once: queue={n} prog_id={new}")));
    events
}

case!(ports "trace_events::control_path", "queues=3", control_path);
/// Attach, replace, detach, whatever the kernel log shows.
fn control_path(bed: &Bed) -> Result<()> {
    const RINGS: usize = 3;
    let (drop, pass) = (Program::sample("xdp_drop")?, Program::sample("xdp_pass")?);
    let trace = Trace::start("oxnic")?;

    for msglvl in ["drv on", "drv off"] {
        let mut log = Kmsg::from_now()?;

        bed.b.msglvl(msglvl)?;
        bed.b.attach(&drop)?;
        bed.b.attach(&pass)?;
        bed.b.detach()?;
        let expected = [
            setup("xdp_drop", 0, drop.id, RINGS),
            setup("xdp_pass", drop.id, pass.id, RINGS),
            setup("", pass.id, 0, RINGS),
        ]
        .concat();
        ensure_eq!(events(&trace, &bed.a)?, [""; 0], "events of the other port");
        expect(&trace, &bed.b, msglvl, &expected)?;

        let lines = log.starting_with("oxnic ox1: ")?.len();
        let printed = if msglvl == "drv on" {
            expected.len()
        } else {
            0
        };
        ensure_eq!(lines, printed, "{msglvl}: lines in the log");
    }
    Ok(())
}

case!(ports "trace_events::verdicts", "queues=1", verdicts;
    allow(&["Illegal XDP return value 42"]));
/// Each frame, as it arrived, and what the program returned for it.
fn verdicts(bed: &Bed) -> Result<()> {
    let names = with_names("0x2a");
    let mut program = Program::load("verdict", "verdict")?;
    let probes = probe_each(&names);
    let rx = |id: u32, len: usize| format!("rx: queue=0 prog_id={id} len={len} buffers=1");
    let verdict = |id: u32, len: usize, act: &str| {
        format!("verdict: queue=0 prog_id={id} len={len} buffers=1 act={act}")
    };

    clear_warn_once()?;
    set_cpumap(&mut program)?;
    bed.up()?;
    let trace = Trace::start_all(&["oxnic/rx", "oxnic/verdict", "oxnic/xdp_do_redirect"])?;
    let mut log = Kmsg::from_now()?;

    send_each(bed, &probes)?;
    let expected: Vec<_> = probes.iter().map(|probe| rx(0, probe.len)).collect();
    expect(&trace, &bed.b, "without a program", &expected)?;

    bed.b.msglvl("drv off")?;
    bed.b.attach(&program)?;
    send_each(bed, &probes)?;
    let cpus = program.map_id("cpus")?;
    let expected: Vec<_> = names
        .iter()
        .zip(&probes)
        .flat_map(|((act, name), probe)| {
            let target = (*act == verdict::REDIRECT).then(|| {
                format!(
                    "xdp_do_redirect: queue=0 to=cpumap map_id={cpus} index=0 broadcast=0 err=0"
                )
            });

            [
                rx(program.id, probe.len),
                verdict(program.id, probe.len, name),
            ]
            .into_iter()
            .chain(target)
        })
        .collect();
    expect(&trace, &bed.b, "with a program", &expected)?;
    ensure_eq!(
        log.starting_with("oxnic ox1: ")?,
        [""; 0],
        "lines in the log, where rx_status is off"
    );

    // The length is the one before the program changed it.
    let mut adjust = Program::load("adjust", "adjust_tail")?;
    adjust.write("config", 0, [-40i32, i32::from(verdict::PASS)])?;
    bed.b.attach(&adjust)?;
    send_each(bed, &[Probe::new(1, 9).len(200)])?;
    expect(
        &trace,
        &bed.b,
        "with a program that cuts frames",
        &[rx(adjust.id, 200), verdict(adjust.id, 200, "XDP_PASS")],
    )?;

    // One event alone.
    trace.enable("oxnic/rx", false)?;
    trace.enable("oxnic/xdp_do_redirect", false)?;
    send_each(bed, &[Probe::new(1, 10).len(200)])?;
    expect(
        &trace,
        &bed.b,
        "verdicts alone",
        &[verdict(adjust.id, 200, "XDP_PASS")],
    )
}

case!(ports "trace_events::off", "queues=2", off);
/// Nothing is recorded before the events are switched on, and after they are switched off again.
fn off(bed: &Bed) -> Result<()> {
    let program = Program::load("verdict", "verdict")?;
    let trace = Trace::start_all(&[])?;
    let probes: Vec<_> = verdict::EACH
        .into_iter()
        .zip(0..)
        .map(|(act, seq)| Probe::new(1, seq).verdict(act))
        .collect();
    let exercise = || -> Result<()> {
        bed.b.attach(&program)?;
        bed.up()?;
        send_each(bed, &probes)?;
        restart::restart(&bed.b, 1)?;
        bed.b.detach()?;
        bed.b.down()
    };

    exercise()?;
    let before = trace.all()?;
    ensure!(before.is_empty(), "events that are off: {before:#?}");
    trace.enable("oxnic", true)?;
    exercise()?;
    for event in [
        "xdp_setup_prog",
        "xdp_prog_xchg",
        "xdp_prog_write_once",
        "interrupt",
        "poll_begin",
        "rx",
        "verdict",
        "xdp_do_redirect",
        "poll_end",
        "ndo_queue_stop",
        "ndo_queue_start",
    ] {
        ensure!(!trace.lines(event)?.is_empty(), "no event {event}");
    }
    trace.enable("oxnic", false)?;
    trace.clear()?;
    exercise()?;
    let after = trace.all()?;
    ensure!(after.is_empty(), "events that are off again: {after:#?}");
    Ok(())
}

case!(ports "trace_events::interrupts_and_polls", "queues=1", polls);
/// A frame's interrupt and the poll that takes it; and one that has used up its budget.
fn polls(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 100;
    let program = Program::sample("xdp_drop")?;
    let probe = Probe::new(1, 0);
    let frame = [
        format!(
            "rx: queue=0 prog_id={} len={} buffers=1",
            program.id, probe.len
        ),
        format!(
            "verdict: queue=0 prog_id={} len={} buffers=1 act=XDP_DROP",
            program.id, probe.len
        ),
    ];
    let begin = "poll_begin: queue=0 budget=64".to_owned();
    let end =
        |work: u32, again: bool| format!("poll_end: queue=0 work={work} again={}", u8::from(again));

    // Each frame interrupts.
    bed.b.ethtool("-C", "adaptive-rx off rx-usecs 0")?;
    bed.b.attach(&program)?;
    bed.up()?;
    send_each(bed, &[probe.clone()])?;
    let trace = Trace::start("oxnic")?;
    send_each(bed, &[probe.clone()])?;
    let expected = [
        &["interrupt: queue=0 delay_ns=0".to_owned(), begin.clone()][..],
        &frame[..],
        &[end(1, false)][..],
    ]
    .concat();
    expect(&trace, &bed.b, "a frame", &expected)?;

    let sender = Sender::open(&bed.a)?;
    let held = Held::new(&bed.b, 0, || sender.send(&probe.frame()))?;
    // The interrupt is off.
    trace.clear()?;
    sender.send_flow(&probe, COUNT)?;
    expect(&trace, &bed.b, "held", &[])?;
    held.release(256)?;
    bed.b.wait_received(u64::from(COUNT) + 3)?;
    rcu::grace_period()?;
    let found = events(&trace, &bed.b)?;
    // Polls that find nothing are up to the kernel.
    let polls: Vec<_> = found
        .iter()
        .filter(|event| event.starts_with("poll_end:") && **event != end(0, false))
        .collect();
    ensure_eq!(
        polls,
        [&end(64, true), &end(COUNT - 64, false)],
        "polls that found frames, of {found:#?}"
    );
    for event in ["rx", "verdict"] {
        ensure_eq!(
            trace.lines(event)?.len(),
            COUNT as usize,
            "frames of event {event}"
        );
    }
    Ok(())
}

case!(ports "trace_events::redirects", "pairs=2 queues=1", redirects);
/// The target of a redirect, whether the kernel refused it, and the batch that the target sends.
fn redirects(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let target = &chain.second.a;
    let mut steer = Steer::load()?;
    let devices = steer.program.map_id("devices")?;
    let redirect = |to: &str, map: u32, index: u32, broadcast: u8, err: i32| {
        format!(
            "xdp_do_redirect: queue=0 to={to} map_id={map} index={index} broadcast={broadcast} \
             err={err}"
        )
    };
    let batch = |taken: u8| format!("ndo_xdp_xmit: queue=0 frames=1 taken={taken}");

    steer.device(3, target, None)?;
    bed.b.attach(&steer.program)?;
    chain.up()?;
    let trace = Trace::start_all(&["oxnic/xdp_do_redirect", "oxnic/ndo_xdp_xmit"])?;
    let check = |what: &str, line: String, sent: Option<u8>| -> Result<()> {
        let batches: Vec<_> = sent.into_iter().map(batch).collect();

        send_each(bed, &[Probe::new(1, 0)])?;
        ensure_eq!(events(&trace, target)?, batches, "{what}: batches");
        expect(&trace, &bed.b, what, &[line])
    };

    steer.by_device(3)?;
    check("devmap", redirect("devmap", devices, 3, 0, 0), Some(1))?;
    steer.by_ifindex(target.ifindex)?;
    let by_ifindex = |err| redirect("ifindex", 0, target.ifindex, 0, err);
    check("ifindex", by_ifindex(0), Some(1))?;
    steer.by_all(BROADCAST)?;
    send_each(bed, &[Probe::new(1, 0)])?;
    let all = events(&trace, &bed.b)?;
    ensure!(
        matches!(&all[..], [event] if event.ends_with(" broadcast=1 err=0") && event
            .starts_with(&format!("xdp_do_redirect: queue=0 to=devmap map_id={devices} "))),
        "broadcast: {all:?}"
    );
    trace.clear()?;
    steer.by_ifindex(target.ifindex)?;
    chain.second.b.down()?;
    check("no link", by_ifindex(0), Some(0))?;
    target.down()?;
    let down = -(Errno::ENETDOWN as i32);
    check("down", by_ifindex(down), None)
}

case!(ports "trace_events::lost", "queues=1", lost);
/// XDP_TX loses frames that it has collected, as the peer went down in the meantime.
fn lost(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 3;
    let program = Program::load("verdict", "verdict")?;

    bed.b.attach(&program)?;
    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let held = Held::new(&bed.b, 0, || sender.send(&Probe::new(1, 0).frame()))?;
    sender.send_flow(&Probe::new(1, 0).verdict(verdict::TX), COUNT)?;
    bed.a.down()?;
    let trace = Trace::start("oxnic/xdp_tx_lost")?;
    held.release(256)?;
    expect(
        &trace,
        &bed.b,
        "frames of one poll",
        &[format!("xdp_tx_lost: queue=0 lost={COUNT}")],
    )
}

case!(ports "trace_events::several_buffers", "queues=1", several_buffers);
/// A frame in several buffers, and one that a program without support for them does not get.
fn several_buffers(bed: &Bed) -> Result<()> {
    let frags = Program::load("frags", "frags_drop")?;
    let plain = Program::sample("xdp_drop")?;
    let lens = [BUFFER, BUFFER + 1, JUMBO + ETH];
    let frame = |event: &str, program: &Program, len: usize| {
        format!(
            "{event}: queue=0 prog_id={} len={len} buffers={}",
            program.id,
            len.div_ceil(BUFFER)
        )
    };

    for port in [&bed.a, &bed.b] {
        port.set_mtu(JUMBO)?;
    }
    bed.b.attach(&frags)?;
    bed.up()?;
    let trace = Trace::start_all(&["oxnic/rx", "oxnic/verdict", "oxnic/xdp_no_frags"])?;
    send_each(bed, &lens.map(|len| Probe::new(1, 0).len(len)))?;
    let expected: Vec<_> = lens
        .iter()
        .flat_map(|len| {
            let verdict = frame("verdict", &frags, *len);

            [frame("rx", &frags, *len), format!("{verdict} act=XDP_DROP")]
        })
        .collect();
    expect(&trace, &bed.b, "frags support", &expected)?;

    // One that came before the MTU was lowered.
    let sender = Sender::open(&bed.a)?;
    let held = Held::new(&bed.b, 0, || sender.send(&Probe::new(1, 1).frame()))?;
    sender.send(&Probe::new(1, 2).len(JUMBO + ETH).frame())?;
    bed.b.detach()?;
    bed.b.set_mtu(1500)?;
    bed.b.attach(&plain)?;
    trace.clear()?;
    held.release(256)?;
    expect(
        &trace,
        &bed.b,
        "no frags support",
        &[
            frame("rx", &plain, JUMBO + ETH),
            frame("xdp_no_frags", &plain, JUMBO + ETH),
        ],
    )
}

case!(ports "trace_events::queues", "queues=2", queues);
/// A queue gets the umem of a socket, and pages again; a queue is restarted.
fn queues(bed: &Bed) -> Result<()> {
    let trace = Trace::start_all(&[
        "oxnic/xsk_setup_pool",
        "oxnic/xsk_attached",
        "oxnic/xsk_detached",
        "oxnic/ndo_queue_stop",
        "oxnic/ndo_queue_start",
    ])?;
    let zero_copy = Setup {
        mode: Mode::ZeroCopy,
        ..Setup::default()
    };

    bed.up()?;
    let socket = Socket::open(&bed.b, 1, zero_copy)?;
    expect(
        &trace,
        &bed.b,
        "a socket",
        &[
            "xsk_setup_pool: queue=1 chunks=512 chunk_size=2048".to_owned(),
            "xsk_attached: queue=1".to_owned(),
        ],
    )?;
    drop(socket);
    wait_free(&bed.b, 1)?;
    expect(
        &trace,
        &bed.b,
        "without the socket",
        &[
            "xsk_setup_pool: queue=1 chunks=0 chunk_size=0".to_owned(),
            "xsk_detached: queue=1".to_owned(),
        ],
    )?;
    restart::restart(&bed.b, 1)?;
    expect(
        &trace,
        &bed.b,
        "a restart",
        &[
            "ndo_queue_stop: queue=1".to_owned(),
            "ndo_queue_start: queue=1".to_owned(),
        ],
    )
}

case!(ports "trace_events::filter", "queues=1", filter);
/// The receive filter overflows, and does so no more.
fn filter(bed: &Bed) -> Result<()> {
    const ROOM: usize = 64;
    let address = |n: usize| [0x02, 0x10, 0, 0, 0, n as u8];
    let trace = Trace::start("oxnic/rx_filter")?;
    let event = |overflow: u8| format!("rx_filter: multicast=0 room={ROOM} overflow={overflow}");

    bed.up()?;
    (0..ROOM).try_for_each(|n| bed.b.receive(&address(n)))?;
    expect(&trace, &bed.b, "more than there is room for", &[event(1)])?;
    (0..ROOM).try_for_each(|n| bed.b.receive_no_more(&address(n)))?;
    expect(&trace, &bed.b, "fewer again", &[event(0)])
}

case!(ports "trace_events::programs", "queues=1", programs);
/// BPF programs at a tracepoint: one gets its arguments, the other the event.
fn programs(bed: &Bed) -> Result<()> {
    let program = Program::load("verdict", "verdict")?;
    let mix = [
        (verdict::PASS, 1, 100),
        (verdict::DROP, 2, 300),
        (verdict::TX, 3, 1000),
    ];
    let probes: Vec<_> = mix
        .into_iter()
        .flat_map(|(act, count, len)| (0..count).map(move |seq| (act, seq, len)))
        .map(|(act, seq, len)| Probe::new(1, seq).verdict(act).len(len))
        .collect();

    bed.b.attach(&program)?;
    bed.up()?;
    send_each(bed, &probes[..1])?;
    // Mounts tracefs, where the library looks for the number of the event.
    let trace = Trace::start_all(&[])?;
    let verdicts = Verdicts::count()?;
    send_each(bed, &probes)?;
    for map in ["raw", "event"] {
        for (act, count, len) in mix {
            ensure_eq!(
                verdicts.read(map, act.into())?,
                [u64::from(count), u64::from(count) * len as u64],
                "frames and bytes of verdict {act} in map {map}"
            );
        }
        ensure_eq!(
            verdicts.read(map, u32::from(verdict::ABORTED))?,
            [0, 0],
            "XDP_ABORTED in map {map}"
        );
    }
    let recorded = trace.all()?;
    ensure!(recorded.is_empty(), "events that are off: {recorded:#?}");
    Ok(())
}
