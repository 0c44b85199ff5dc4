// SPDX-License-Identifier: GPL-2.0

//! The driver's messages in the kernel log, line by line.

use crate::{
    bed::{Bed, Port},
    bpf::Program,
    harness::case,
    host::{ensure_eq, kmsg::Kmsg, rcu, repeat_until, tracefs::clear_warn_once, wait_until},
    support::{
        buffers::{BUFFER, JUMBO},
        held::Held,
        probes::{send_all, send_each},
        steer::{Chain, Steer, BROADCAST},
        verdict::{probe_each, set_cpumap, with_names},
    },
    wire::{
        packet::Sender,
        probe::{verdict, Probe},
        xsk::Xsk,
        ETH,
    },
};
use anyhow::{ensure, Result};
use nix::errno::Errno;

/// `KERN_INFO`.
const INFO: u8 = 6;

/// The lines about a port, without what all of them begin with.
fn lines(log: &mut Kmsg, port: &Port) -> Result<Vec<String>> {
    let prefix = format!("oxnic {}: ", port.name);
    let mut found = Vec::new();

    for line in log.lines()? {
        if let Some(rest) = line.text.strip_prefix(&prefix) {
            ensure_eq!(line.level, INFO, "severity of \"{}\"", line.text);
            found.push(rest.to_owned());
        }
    }
    Ok(found)
}

/// Waits for as many lines as are expected, as a poll may still be printing, compares them all and
/// forgets them.
fn expect(log: &mut Kmsg, port: &Port, what: &str, expected: &[String]) -> Result<()> {
    let mut found = Vec::new();

    // A timeout is no error here: the comparison below says more.
    let _ = wait_until("the trace is complete", || {
        found = lines(log, port)?;
        Ok(found.len() >= expected.len())
    });
    if let Some(n) =
        (0..expected.len().max(found.len())).find(|n| found.get(*n) != expected.get(*n))
    {
        anyhow::bail!(
            "{what}: line {n}: expected {:?}, found {:?}; all: {found:#?}",
            expected.get(n),
            found.get(n)
        );
    }
    log.forget()
}

/// The lines for one `ndo_bpf`.
fn setup(request: &str, old: &str, new: &str, rings: usize) -> Vec<String> {
    let mut lines = vec![
        format!("ndo_bpf: XDP_SETUP_PROG, {request}"),
        format!("vsi.xdp_prog: xchg: {old} -> {new}"),
    ];

    lines.extend((0..rings).map(|n| format!("rx_ring[{n}].xdp_prog: WRITE_ONCE: {new}")));
    lines
}

fn named(program: &Program, name: &str) -> (String, String) {
    (
        format!("program id {} \"{name}\"", program.id),
        format!("id {}", program.id),
    )
}

case!(ports "trace::control_path", "queues=3", control_path);
/// Attach, replace, detach; down and up, with either port.
fn control_path(bed: &Bed) -> Result<()> {
    const RINGS: usize = 3;
    let (first, second) = (Program::sample("xdp_drop")?, Program::sample("xdp_pass")?);
    // The kernel keeps 15 characters of a name.
    let (drop, drop_id) = named(&first, "xdp_drop");
    let (pass, pass_id) = named(&second, "xdp_pass");
    let mut log = Kmsg::from_now()?;

    for (port, other, up) in [(&bed.b, &bed.a, false), (&bed.a, &bed.b, true)] {
        if up {
            bed.up()?;
        }
        port.attach(&first)?;
        let mut expected = setup(&drop, "none", &drop_id, RINGS);
        port.attach(&second)?;
        expected.extend(setup(&pass, &drop_id, &pass_id, RINGS));
        port.detach()?;
        expected.extend(setup("no program", &pass_id, "none", RINGS));
        port.attach(&first)?;
        expected.extend(setup(&drop, "none", &drop_id, RINGS));
        // The kernel does not call the driver for a program that is attached already.
        port.attach(&first)?;
        port.detach()?;
        expected.extend(setup("no program", &drop_id, "none", RINGS));

        let all = log.starting_with("oxnic")?;
        ensure!(
            !all.iter()
                .any(|line| line.starts_with(&format!("oxnic {}:", other.name))),
            "lines about the other port: {all:?}"
        );
        ensure_eq!(all.len(), expected.len(), "lines of the module: {all:#?}");
        expect(&mut log, port, &port.name, &expected)?;
    }

    // A refused request logs no step that it did not reach.
    bed.b.attach(&first)?;
    log.forget()?;
    bed.b.attach_refused(
        Some(&second),
        crate::nl::link::XDP_FLAGS_DRV_MODE | crate::nl::link::XDP_FLAGS_UPDATE_IF_NOEXIST,
        None,
        Errno::EBUSY,
        "already attached",
    )?;
    expect(&mut log, &bed.b, "refused", &[])
}

case!(ports "trace::control_path_switched_off", "queues=2", drv_off);
fn drv_off(bed: &Bed) -> Result<()> {
    let (first, second) = (Program::sample("xdp_drop")?, Program::sample("xdp_pass")?);
    let mut log = Kmsg::from_now()?;

    bed.b.msglvl("drv off")?;
    bed.b.attach(&first)?;
    bed.b.attach(&second)?;
    bed.b.detach()?;
    expect(&mut log, &bed.b, "switched off", &[])?;

    // The other port has its own message level.
    let (request, id) = named(&first, "xdp_drop");
    bed.a.attach(&first)?;
    expect(
        &mut log,
        &bed.a,
        "the other port",
        &setup(&request, "none", &id, 2),
    )?;

    bed.b.msglvl("drv on")?;
    bed.b.attach(&first)?;
    expect(
        &mut log,
        &bed.b,
        "on again",
        &setup(&request, "none", &id, 2),
    )
}

case!(ports "trace::silent_by_default", "queues=1", silent);
/// Frames are logged only on request.
fn silent(bed: &Bed) -> Result<()> {
    let program = Program::load("verdict", "verdict")?;
    let mut log = Kmsg::from_now()?;
    let frames: Vec<_> = verdict::EACH
        .into_iter()
        .zip(0..)
        .map(|(act, seq)| Probe::new(1, seq).verdict(act))
        .collect();
    let count = frames.len() as u64;

    ensure!(
        bed.b.ethtool("", "")?.contains("drv"),
        "ethtool does not show that drv is on"
    );
    bed.up()?;
    send_all(bed, &frames)?;
    bed.b.wait_received(count)?;
    bed.b.attach(&program)?;
    log.forget()?;
    send_all(bed, &frames)?;
    bed.b.wait_received(2 * count)?;
    expect(&mut log, &bed.b, "by default", &[])?;

    // What was switched on can be switched off.
    bed.b.msglvl("rx_status on pktdata on")?;
    send_all(bed, &frames[..1])?;
    bed.b.wait_received(2 * count + 1)?;
    wait_until("the frame is in the log", || {
        Ok(!log.starting_with("oxnic ox1")?.is_empty())
    })?;
    bed.b.msglvl("rx_status off pktdata off")?;
    log.forget()?;
    send_all(bed, &frames)?;
    bed.b.wait_received(3 * count + 1)?;
    expect(&mut log, &bed.b, "switched off again", &[])
}

case!(ports "trace::verdicts", "queues=1", verdicts; allow(&["Illegal XDP return value 42"]));
fn verdicts(bed: &Bed) -> Result<()> {
    let names = with_names("42 (unknown)");
    let mut program = Program::load("verdict", "verdict")?;
    let mut log = Kmsg::from_now()?;
    let probes = probe_each(&names);

    clear_warn_once()?;
    set_cpumap(&mut program)?;
    bed.up()?;
    bed.b.msglvl("rx_status on drv off")?;
    send_each(bed, &probes)?;
    expect(
        &mut log,
        &bed.b,
        "without a program",
        &probes
            .iter()
            .map(|probe| {
                format!(
                    "rx_ring[0]: READ_ONCE: none; napi_gro_receive({} bytes)",
                    probe.len
                )
            })
            .collect::<Vec<_>>(),
    )?;

    bed.b.attach(&program)?;
    send_each(bed, &probes)?;
    let cpus = program.map_id("cpus")?;
    let expected: Vec<_> = names
        .iter()
        .zip(&probes)
        .flat_map(|((act, name), probe)| {
            let line = format!(
                "rx_ring[0]: READ_ONCE: id {}; bpf_prog_run_xdp({} bytes) = {name}",
                program.id, probe.len
            );
            let target = (*act == verdict::REDIRECT)
                .then(|| format!("rx_ring[0]: xdp_do_redirect: cpumap id {cpus}, key 0"));

            [line].into_iter().chain(target)
        })
        .collect();
    expect(&mut log, &bed.b, "with a program", &expected)?;

    // The length is the one before the program changed it, and a short frame's that of its padding.
    let mut adjust = Program::load("adjust", "adjust_tail")?;
    adjust.write("config", 0, [-40i32, i32::from(verdict::PASS)])?;
    bed.b.attach(&adjust)?;
    send_each(bed, &[Probe::new(1, 9).len(200)])?;
    expect(
        &mut log,
        &bed.b,
        "with a program that cuts frames",
        &[format!(
            "rx_ring[0]: READ_ONCE: id {}; bpf_prog_run_xdp(200 bytes) = XDP_PASS",
            adjust.id
        )],
    )
}

/// The line of an interrupt that is not moderated.
const INTERRUPT: &str = "rx_ring[0]: interrupt: napi_schedule";

/// The lines of a poll around those of its frames.
fn poll(frames: usize, end: &str) -> [String; 2] {
    [
        "rx_ring[0]: poll: budget 64".to_owned(),
        format!("rx_ring[0]: poll: {frames} frames, {end}"),
    ]
}

/// Sends a frame, and waits until the poll that takes it has armed the interrupt again.
fn send_one(bed: &Bed, probe: &Probe) -> Result<()> {
    send_each(bed, &[probe.clone()])?;
    rcu::grace_period()
}

case!(ports "trace::interrupts", "queues=1", interrupts);
/// The interrupt of a frame and the poll that it leads to, also with a new ring.
fn interrupts(bed: &Bed) -> Result<()> {
    let program = Program::sample("xdp_drop")?;
    let probe = Probe::new(1, 0);
    let mut log = Kmsg::from_now()?;
    let [begin, end] = poll(1, "complete");
    let alone = [INTERRUPT.to_owned(), begin.clone(), end.clone()];

    // Each frame interrupts.
    bed.b.ethtool("-C", "adaptive-rx off rx-usecs 0")?;
    bed.up()?;
    send_one(bed, &probe)?;
    bed.b.msglvl("intr on drv off")?;
    log.forget()?;
    send_one(bed, &probe)?;
    send_one(bed, &probe)?;
    expect(
        &mut log,
        &bed.b,
        "two frames",
        &[alone.clone(), alone].concat(),
    )?;

    bed.b.attach(&program)?;
    bed.b.msglvl("rx_status on")?;
    send_one(bed, &probe)?;
    let verdict = format!(
        "rx_ring[0]: READ_ONCE: id {}; bpf_prog_run_xdp({} bytes) = XDP_DROP",
        program.id, probe.len
    );
    let with_verdict = [INTERRUPT.to_owned(), begin, verdict, end];
    expect(&mut log, &bed.b, "with the verdict", &with_verdict)?;

    // The first poll of a ring finds nothing and arms the interrupt.
    bed.b.down()?;
    bed.up()?;
    expect(&mut log, &bed.b, "a new ring", &poll(0, "complete"))?;
    send_one(bed, &probe)?;
    expect(&mut log, &bed.b, "in the new ring", &with_verdict)?;

    bed.b.msglvl("intr off rx_status off")?;
    send_one(bed, &probe)?;
    expect(&mut log, &bed.b, "switched off", &[])
}

case!(ports "trace::polls", "queues=1", polls);
/// A poll that has used up its budget is followed by another without an interrupt.
fn polls(bed: &Bed) -> Result<()> {
    const COUNT: u32 = 100;
    let probe = Probe::new(1, 0);
    let mut log = Kmsg::from_now()?;

    bed.up()?;
    let sender = Sender::open(&bed.a)?;
    let held = Held::new(&bed.b, 0, || sender.send(&probe.frame()))?;
    bed.b.msglvl("intr on drv off")?;
    log.forget()?;
    // The interrupt is off.
    sender.send_flow(&probe, COUNT)?;
    expect(&mut log, &bed.b, "held", &[])?;
    held.release(256)?;
    bed.b.wait_received(u64::from(COUNT) + 1)?;
    rcu::grace_period()?;
    // Who waits until the ring is empty may have it polled once more, and then its successor is.
    let idle = poll(0, "complete");
    let polls = lines(&mut log, &bed.b)?;
    let busy: Vec<_> = polls
        .chunks(2)
        .filter(|lines| *lines != idle)
        .flatten()
        .cloned()
        .collect();
    let rest = COUNT as usize - 64;
    ensure_eq!(
        busy,
        [poll(64, "again"), poll(rest, "complete")].concat(),
        "polls that found frames, of {polls:#?}"
    );
    Ok(())
}

case!(ports "trace::moderated_interrupts", "queues=1", moderated);
/// A frame that comes soon after a poll starts the timer of the interrupt.
fn moderated(bed: &Bed) -> Result<()> {
    const USECS: u64 = 10_000;
    let frame = Probe::new(1, 0).frame();
    let mut log = Kmsg::from_now()?;
    let mut all = Vec::new();

    bed.b
        .ethtool("-C", &format!("adaptive-rx off rx-usecs {USECS}"))?;
    bed.up()?;
    bed.b.msglvl("intr on drv off")?;
    log.forget()?;
    // The second of two frames, unless the machine is slow.
    let sender = Sender::open(&bed.a)?;
    let mut received = bed.b.link()?.stat("rx_packets")?;
    repeat_until(
        "a frame comes soon after a poll",
        || {
            received += 2;
            (0..2).try_for_each(|_| sender.send(&frame))
        },
        || {
            all = lines(&mut log, &bed.b)?;
            Ok(all.iter().any(|line| line.contains("interrupt in")))
        },
    )?;
    bed.b.wait_received(received)?;
    rcu::grace_period()?;
    let all = lines(&mut log, &bed.b)?;
    let at = all.iter().position(|line| line.contains("interrupt in"));
    let after = &all[at.unwrap_or(all.len())..];
    let delay = after
        .first()
        .and_then(|line| line.strip_prefix("rx_ring[0]: interrupt in "))
        .and_then(|line| line.strip_suffix(" us"))
        .and_then(|delay| delay.parse::<u64>().ok());
    ensure!(
        delay.is_some_and(|delay| delay <= USECS),
        "the delay, in {all:#?}"
    );
    ensure!(
        after.get(1..3) == Some(&poll(1, "complete")),
        "the poll after the timer, in {all:#?}"
    );
    Ok(())
}

case!(ports "trace::failures", "queues=1", failures);
/// A failure of the driver is logged after the verdict.
fn failures(bed: &Bed) -> Result<()> {
    let program = Program::load("verdict", "verdict")?;
    let mut log = Kmsg::from_now()?;
    let line = |name: &str| {
        format!(
            "rx_ring[0]: READ_ONCE: id {}; bpf_prog_run_xdp(128 bytes) = {name}",
            program.id
        )
    };

    bed.b.msglvl("rx_status on drv off")?;
    bed.b.attach(&program)?;
    bed.up()?;
    send_each(bed, &[Probe::new(1, 0).verdict(verdict::BAD_REDIRECT)])?;
    expect(
        &mut log,
        &bed.b,
        "redirect to nowhere",
        &[
            line("XDP_REDIRECT"),
            format!(
                "rx_ring[0]: xdp_do_redirect: ifindex {}: error -{}",
                0x7fff_fff0,
                Errno::EINVAL as i32
            ),
        ],
    )
}

case!(ports "trace::redirects", "pairs=2 queues=1", redirects);
/// Each kind of redirect logs its target, and whether the kernel refused it.
fn redirects(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let target = &chain.second.a;
    let mut steer = Steer::load()?;
    let mut log = Kmsg::from_now()?;
    let (devices, cpus, sockets) = (
        steer.program.map_id("devices")?,
        steer.program.map_id("cpus")?,
        steer.program.map_id("sockets")?,
    );
    let mut expect_target = |steer: &Steer, action: &str, line: Option<String>| -> Result<()> {
        let verdict = format!(
            "rx_ring[0]: READ_ONCE: id {}; bpf_prog_run_xdp(128 bytes) = {action}",
            steer.program.id
        );
        let target = line.map(|line| format!("rx_ring[0]: xdp_do_redirect: {line}"));

        send_each(bed, &[Probe::new(1, 0)])?;
        let expected: Vec<_> = [verdict].into_iter().chain(target).collect();
        expect(&mut log, &bed.b, "redirect", &expected)
    };

    bed.b.msglvl("rx_status on drv off")?;
    steer.device(3, target, None)?;
    steer.cpu(0, None)?;
    bed.b.attach(&steer.program)?;
    chain.up()?;

    steer.by_device(3)?;
    expect_target(
        &steer,
        "XDP_REDIRECT",
        Some(format!("devmap id {devices}, key 3")),
    )?;
    steer.by_all(BROADCAST)?;
    expect_target(
        &steer,
        "XDP_REDIRECT",
        Some(format!("devmap id {devices}, broadcast")),
    )?;
    steer.by_cpu(0)?;
    expect_target(
        &steer,
        "XDP_REDIRECT",
        Some(format!("cpumap id {cpus}, key 0")),
    )?;
    steer.by_ifindex(target.ifindex)?;
    expect_target(
        &steer,
        "XDP_REDIRECT",
        Some(format!("ifindex {}", target.ifindex)),
    )?;
    // The map has no entry, so it is the program that says XDP_ABORTED.
    steer.by_socket()?;
    expect_target(&steer, "XDP_ABORTED", None)?;
    let socket = Xsk::open(&bed.b, 0, 4096, false)?;
    steer.socket(0, &socket)?;
    expect_target(
        &steer,
        "XDP_REDIRECT",
        Some(format!("xskmap id {sockets}, key 0")),
    )?;

    target.down()?;
    let down = Errno::ENETDOWN as i32;
    steer.by_device(3)?;
    expect_target(
        &steer,
        "XDP_REDIRECT",
        Some(format!("devmap id {devices}, key 3: error -{down}")),
    )?;
    steer.by_ifindex(target.ifindex)?;
    expect_target(
        &steer,
        "XDP_REDIRECT",
        Some(format!("ifindex {}: error -{down}", target.ifindex)),
    )
}

case!(ports "trace::batches", "pairs=2 queues=1", batches);
/// The port that sends for others says how many frames it was given and how many it took.
fn batches(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    let mut steer = Steer::load()?;
    let mut log = Kmsg::from_now()?;

    steer.device(0, &chain.second.a, None)?;
    steer.by_device(0)?;
    bed.b.attach(&steer.program)?;
    chain.up()?;
    log.forget()?;
    send_each(bed, &[Probe::new(1, 0)])?;
    expect(&mut log, &chain.second.a, "by default", &[])?;

    chain.second.a.msglvl("tx_queued on")?;
    send_each(bed, &[Probe::new(1, 0), Probe::new(1, 1)])?;
    chain.second.b.down()?;
    send_each(bed, &[Probe::new(1, 2)])?;
    let line = |taken| format!("tx_queue[0]: ndo_xdp_xmit: 1 frames, {taken} taken");
    expect(
        &mut log,
        &chain.second.a,
        "a frame at a time",
        &[line(1), line(1), line(0)],
    )
}

case!(ports "trace::several_buffers", "queues=1", several_buffers);
/// A frame that is in more than one buffer is said to be so.
fn several_buffers(bed: &Bed) -> Result<()> {
    let program = Program::load("frags", "frags_drop")?;
    let mut log = Kmsg::from_now()?;
    let lens = [BUFFER, BUFFER + 1, 2 * BUFFER, 2 * BUFFER + 1, JUMBO + ETH];

    for port in [&bed.a, &bed.b] {
        port.set_mtu(JUMBO)?;
    }
    bed.b.msglvl("rx_status on drv off")?;
    bed.b.attach(&program)?;
    bed.up()?;
    send_each(bed, &lens.map(|len| Probe::new(1, 0).len(len)))?;
    let expected = lens.map(|len| {
        let size = match len.div_ceil(BUFFER) {
            1 => format!("{len} bytes"),
            n => format!("{len} bytes in {n} buffers"),
        };

        format!(
            "rx_ring[0]: READ_ONCE: id {}; bpf_prog_run_xdp({size}) = XDP_DROP",
            program.id
        )
    });
    expect(&mut log, &bed.b, "several buffers", &expected)
}

/// The dump of a frame: 64 bytes at most, 16 in a line.
fn dump(frame: &[u8]) -> Vec<String> {
    frame[..frame.len().min(64)]
        .chunks(16)
        .zip(0..)
        .map(|(bytes, n)| {
            let mut line = format!("rx_ring[0]: {:04x}:", 16 * n);

            for byte in bytes {
                line += &format!(" {byte:02x}");
            }
            line
        })
        .collect()
}

case!(ports "trace::frame_bytes", "queues=1", frame_bytes);
fn frame_bytes(bed: &Bed) -> Result<()> {
    const LENGTHS: [usize; 7] = [60, 61, 63, 64, 65, 128, 1514];
    let program = Program::load("verdict", "verdict")?;
    let mut log = Kmsg::from_now()?;
    let probes = |act| -> Vec<Probe> {
        LENGTHS
            .into_iter()
            .zip(0..)
            .map(|(len, seq)| Probe::new(seq, seq * 77).verdict(act).len(len))
            .collect()
    };
    let dumps = |probes: &[Probe]| -> Vec<String> {
        probes
            .iter()
            .flat_map(|probe| dump(&probe.frame()))
            .collect()
    };

    bed.up()?;
    bed.b.msglvl("pktdata on drv off")?;
    send_each(bed, &probes(verdict::PASS))?;
    expect(
        &mut log,
        &bed.b,
        "without a program",
        &dumps(&probes(verdict::PASS)),
    )?;

    // A frame is dumped as it arrived, even if the program then swaps its addresses and sends it.
    bed.b.attach(&program)?;
    send_each(bed, &probes(verdict::TX))?;
    expect(
        &mut log,
        &bed.b,
        "with a program that changes frames",
        &dumps(&probes(verdict::TX)),
    )?;

    bed.b.msglvl("rx_status on")?;
    send_each(bed, &probes(verdict::DROP))?;
    let expected: Vec<_> = probes(verdict::DROP)
        .iter()
        .flat_map(|probe| {
            let verdict = format!(
                "rx_ring[0]: READ_ONCE: id {}; bpf_prog_run_xdp({} bytes) = XDP_DROP",
                program.id, probe.len
            );
            [dump(&probe.frame()), vec![verdict]].concat()
        })
        .collect();
    expect(&mut log, &bed.b, "with the verdict", &expected)?;

    // Zeros are shown where the wire has put them.
    let mut short = Probe::new(1, 1).frame();
    short.truncate(30);
    short[12..14].copy_from_slice(&[0x88, 0xb5]);
    bed.b.detach()?;
    bed.b.msglvl("rx_status off")?;
    let received = bed.b.link()?.stat("rx_packets")?;
    Sender::open(&bed.a)?.send(&short)?;
    bed.b.wait_received(received + 1)?;
    short.resize(60, 0);
    expect(&mut log, &bed.b, "a padded frame", &dump(&short))
}

case!(ports "trace::loading_and_unloading_say_nothing", "", loading);
/// Only the control path of XDP is logged by default.
fn loading(bed: &Bed) -> Result<()> {
    let mut log = Kmsg::from_now()?;

    bed.up()?;
    bed.b.set_mtu(2000)?;
    bed.b.down()?;
    bed.b.up()?;
    crate::host::module::unload()?;
    crate::host::module::load("")?;
    let found = log.starting_with("oxnic")?;
    ensure!(found.is_empty(), "lines without a reason: {found:#?}");
    Ok(())
}
