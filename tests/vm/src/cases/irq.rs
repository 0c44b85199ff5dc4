// SPDX-License-Identifier: GPL-2.0

//! The interrupt of a receive queue: what the kernel shows of it, and the CPU that it goes to.

use crate::{
    bed::{Bed, Port, V4},
    bpf::{Program, SlowIpi},
    harness::case,
    host::{cpus, ensure_eq, tracefs::Returns},
    sockopt::{BusyPoll, PreferBusyPoll},
    support::{
        changes::under_traffic,
        polls::{affinity_file, napi, poll_in_threads, set_affinity},
        traffic::{check_alive, wait_flowing, while_sending, Source},
    },
    wire::{packet::Sender, probe::Probe, stream},
};
use anyhow::{anyhow, bail, ensure, Context, Result};
use nix::{libc, sys::socket::setsockopt};
use std::{collections::BTreeMap, fs, io::ErrorKind};

/// Frames in a row.
const FRAMES: u32 = 20;
/// Each frame raises an interrupt.
const AT_ONCE: &str = "adaptive-rx off rx-usecs 0";
/// The timer raises the next interrupt.
const BY_TIMER: &str = "adaptive-rx off rx-usecs 2000";

/// The number of the interrupt of a receive queue.
fn number(port: &Port, queue: u64) -> Result<u64> {
    napi(port, queue)?
        .irq
        .with_context(|| format!("{}: queue {queue} has no interrupt", port.name))
}

fn affinity_of(irq: u64) -> Result<String> {
    let path = affinity_file(irq);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;

    Ok(text.trim().to_owned())
}

/// What `/proc/interrupts` shows of an interrupt: how often each CPU that is online had it, and its
/// name.
fn shown(irq: u64) -> Result<(BTreeMap<usize, u64>, String)> {
    let text = fs::read_to_string("/proc/interrupts")?;
    let mut lines = text.lines();
    let cpus: Vec<usize> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|cpu| cpu.strip_prefix("CPU")?.parse().ok())
        .collect();
    let words: Vec<_> = lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.first() == Some(&format!("{irq}:").as_str()))
        .ok_or_else(|| anyhow!("no interrupt {irq} in\n{text}"))?;
    let counts = cpus
        .iter()
        .zip(&words[1..])
        .map(|(cpu, count)| Ok((*cpu, count.parse()?)))
        .collect::<Result<_>>()?;

    Ok((counts, words[1 + cpus.len()..].join(" ")))
}

/// Sends frames from a CPU to port B, one after the other has been received.
fn send_from(bed: &Bed, cpu: usize) -> Result<()> {
    let sender = Sender::open(&bed.a)?;

    for seq in 0..FRAMES {
        let received = bed.b.link()?.stat("rx_packets")?;

        cpus::run_on(cpu, || sender.send(&Probe::new(1, seq).frame()))?;
        bed.b.wait_received(received + 1)?;
    }
    Ok(())
}

/// How many frames were polled on each CPU.
fn polled(program: &Program) -> Result<BTreeMap<usize, u64>> {
    cpus::all()?
        .into_iter()
        .map(|cpu| Ok((cpu, program.read("cpus", cpu as u32)?)))
        .collect()
}

/// Frames that one CPU sends are polled by another, and the interrupts come there. Not each of them
/// has one: it may come just when the poll of the one before ends. If sender and poll share a CPU
/// no interrupt has to be sent.
fn expect(bed: &Bed, program: &Program, irq: u64, from: usize, to: usize) -> Result<()> {
    let mut frames = polled(program)?;
    let (before, _) = shown(irq)?;

    send_from(bed, from)?;
    *frames.entry(to).or_default() += u64::from(FRAMES);
    ensure_eq!(polled(program)?, frames, "frames polled by each CPU");
    for (cpu, count) in shown(irq)?.0 {
        let new = count - before[&cpu];
        let possible = if cpu == to && from != to {
            1..=u64::from(FRAMES)
        } else {
            0..=0
        };

        ensure!(
            possible.contains(&new),
            "CPU {cpu} was interrupted {new} times"
        );
    }
    Ok(())
}

case!(ports "irq::listed", "queues=3", listed);
/// Each queue of a port that is up has an interrupt of its own, named after it, that may go to all
/// CPUs.
fn listed(bed: &Bed) -> Result<()> {
    let all: Vec<_> = cpus::all()?;
    let everywhere = match all[..] {
        [only] => only.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => bail!("no CPU"),
    };

    for _ in 0..2 {
        bed.up()?;
        let mut irqs = Vec::new();
        for port in [&bed.a, &bed.b] {
            for queue in 0..3 {
                let irq = number(port, queue)?;
                let (_, name) = shown(irq)?;

                // What stands between the chip and the name depends on the architecture.
                ensure!(
                    name.starts_with("simulated ")
                        && name.ends_with(&format!(" -edge {}-rx-{queue}", port.name)),
                    "interrupt {irq}: {name}"
                );
                ensure_eq!(affinity_of(irq)?, everywhere, "affinity of {irq}");
                irqs.push(irq);
            }
        }
        irqs.sort_unstable();
        irqs.dedup();
        ensure_eq!(irqs.len(), 6, "numbers of interrupts");

        bed.b.down()?;
        let text = fs::read_to_string("/proc/interrupts")?;
        ensure!(
            text.contains("ox0-rx-0") && !text.contains("ox1-rx-"),
            "after port B went down: {text}"
        );
    }
    Ok(())
}

case!(ports "irq::affinity", "queues=1", |bed| affinity(bed, AT_ONCE));
case!(ports "irq::affinity_with_the_timer", "queues=1", |bed| affinity(bed, BY_TIMER));
/// Frames are polled on the CPU that the user chose, from wherever they come; otherwise on the
/// sender's.
fn affinity(bed: &Bed, coalesce: &str) -> Result<()> {
    let program = Program::load("where", "where")?;
    let all = cpus::all()?;

    bed.up()?;
    bed.b.attach(&program)?;
    bed.b.ethtool("-C", coalesce)?;
    let irq = number(&bed.b, 0)?;
    for from in &all {
        expect(bed, &program, irq, *from, *from).context("for all CPUs")?;
    }
    for to in &all {
        set_affinity(irq, &to.to_string())?;
        for from in &all {
            expect(bed, &program, irq, *from, *to)
                .with_context(|| format!("from CPU {from} to {to}"))?;
        }
    }
    Ok(())
}

case!(ports "irq::affinity_stays", "queues=2", stays);
/// The affinity stays when a queue's ring is restarted, removed and added.
fn stays(bed: &Bed) -> Result<()> {
    let program = Program::load("where", "where")?;
    let last = *cpus::all()?.last().context("no CPU")?;

    bed.up()?;
    bed.b.attach(&program)?;
    bed.b.ethtool("-C", AT_ONCE)?;
    let irqs = [number(&bed.b, 0)?, number(&bed.b, 1)?];
    for irq in irqs {
        set_affinity(irq, &last.to_string())?;
    }
    let check = |when: &str| {
        for (irq, queue) in irqs.into_iter().zip(0..) {
            ensure_eq!(number(&bed.b, queue)?, irq, "{when}: interrupt");
            ensure_eq!(affinity_of(irq)?, last.to_string(), "{when}: affinity");
        }
        Ok::<_, anyhow::Error>(())
    };
    bed.b.ethtool("-G", "rx 128")?;
    check("after -G")?;
    bed.b.ethtool("-L", "combined 1")?;
    expect(bed, &program, irqs[0], 0, last).context("with one queue")?;
    bed.b.ethtool("-L", "combined 2")?;
    check("after -L")?;
    bed.b.down()?;
    bed.up()?;
    check("after down and up")?;
    bed.b.ethtool("-L", "combined 1")?;
    expect(bed, &program, irqs[0], 0, last).context("after down and up")?;
    check_alive(bed)
}

case!(ports "irq::affinity_refused", "queues=1", refused);
/// An affinity without an existing CPU is refused.
fn refused(bed: &Bed) -> Result<()> {
    bed.up()?;
    let irq = number(&bed.b, 0)?;
    let before = affinity_of(irq)?;
    let none = cpus::all()?.len();

    for cpus in [none.to_string(), String::new(), "x".to_owned()] {
        let error = fs::write(affinity_file(irq), format!("{cpus}\n"))
            .err()
            .with_context(|| format!("the affinity was set to \"{cpus}\""))?;
        ensure!(
            matches!(
                error.raw_os_error(),
                Some(libc::EINVAL | libc::EOVERFLOW | libc::ERANGE)
            ),
            "setting the affinity to \"{cpus}\": {error}"
        );
        ensure_eq!(affinity_of(irq)?, before, "affinity after \"{cpus}\"");
    }
    check_alive(bed)
}

/// A CPU that is offline while this exists.
struct Offline(usize);

impl Offline {
    /// `None` if the CPU cannot go offline.
    fn new(cpu: usize) -> Result<Option<Self>> {
        match fs::write(Self::file(cpu), "0") {
            Ok(()) => Ok(Some(Self(cpu))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("taking CPU {cpu} offline")),
        }
    }

    fn file(cpu: usize) -> String {
        format!("/sys/devices/system/cpu/cpu{cpu}/online")
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        let _ = fs::write(Self::file(self.0), "1");
    }
}

case!(ports "irq::cpu_goes_offline", "queues=1", offline);
/// When the only CPU of the affinity goes, another takes its place.
fn offline(bed: &Bed) -> Result<()> {
    let program = Program::load("where", "where")?;
    let all = cpus::all()?;
    let last = *all.last().context("no CPU")?;

    bed.up()?;
    bed.b.attach(&program)?;
    bed.b.ethtool("-C", AT_ONCE)?;
    let irq = number(&bed.b, 0)?;
    set_affinity(irq, &last.to_string())?;
    expect(bed, &program, irq, 0, last)?;
    let Some(gone) = Offline::new(last)? else {
        return Ok(());
    };
    ensure!(
        !affinity_of(irq)?.contains(&last.to_string()),
        "the affinity has CPU {last}, which is offline"
    );
    expect(bed, &program, irq, 0, 0).context("while it is offline")?;
    drop(gone);
    set_affinity(irq, &last.to_string())?;
    expect(bed, &program, irq, 0, last).context("when it is online again")
}

case!(ports "irq::threaded", "queues=1", threaded);
/// A NAPI with a thread is polled by it; the interrupt only wakes the thread.
fn threaded(bed: &Bed) -> Result<()> {
    let mut program = Program::load("where", "where")?;
    let all = cpus::all()?;
    let last = *all.last().context("no CPU")?;

    bed.up()?;
    bed.b.attach(&program)?;
    bed.b.ethtool("-C", AT_ONCE)?;
    poll_in_threads(&bed.b)?;
    let napi = napi(&bed.b, 0)?;
    program.write("thread", 0, napi.pid.context("no thread")? as u32)?;
    let irq = number(&bed.b, 0)?;
    set_affinity(irq, &last.to_string())?;
    let before = shown(irq)?.0;
    send_from(bed, 0)?;
    ensure_eq!(
        program.read::<u64>("in_thread", 0)?,
        u64::from(FRAMES),
        "frames that the thread polled"
    );
    ensure!(
        last == 0 || shown(irq)?.0[&last] > before[&last],
        "no interrupt woke the thread"
    );
    Ok(())
}

case!(ports "irq::moved_under_traffic", "queues=2", moved);
/// No frame is lost or stuck while interrupts move from CPU to CPU and rings are restarted.
fn moved(bed: &Bed) -> Result<()> {
    let all = cpus::all()?;

    under_traffic(
        bed,
        |step, port| {
            for queue in 0..2 {
                let cpu = all[(step + queue) % all.len()];
                set_affinity(number(port, queue as u64)?, &cpu.to_string())?;
            }
            wait_flowing(bed, 200)?;
            port.ethtool("-G", &format!("rx {}", [256, 512][step % 2]))
                .map(drop)
        },
        &[0, 1, 2, 3, 4, 5, 6, 7],
    )
}

case!(ports "irq::on_its_way_while_busy_polling", "queues=1", |bed| on_its_way(bed, busy_poll));
case!(ports "irq::on_its_way_while_restarted", "queues=1", |bed| on_its_way(bed, restart));
/// An interrupt that is pending on another CPU is not sent again before it has arrived: the kernel
/// does not check that, and would queue it twice.
fn on_its_way(bed: &Bed, raise: fn(&Bed) -> Result<()>) -> Result<()> {
    let [first, .., last] = cpus::all()?[..] else {
        // No CPU has to be interrupted.
        return Ok(());
    };

    bed.up_with_addresses()?;
    set_affinity(number(&bed.b, 0)?, &last.to_string())?;
    let _slow = SlowIpi::on(last)?;
    for what in [AT_ONCE, BY_TIMER] {
        bed.b.ethtool("-C", what)?;
        let calls = Returns::of("smp_call_function_single_async")?;
        cpus::run_on(first, || raise(bed)).with_context(|| what.to_owned())?;
        let values = calls.values()?;
        let sent = values.iter().filter(|&&value| value == 0).count();
        ensure!(sent > 0, "{what}: no other CPU was interrupted");
        ensure_eq!(values.len(), sent, "{what}: calls that were sent");
    }
    check_alive(bed)
}

/// The thread that sends and polls does not wait for the interrupts: each frame finds them enabled.
fn busy_poll(bed: &Bed) -> Result<()> {
    const DATAGRAMS: u32 = 100;
    let from = stream::udp(&bed.a, V4[0], 0)?;
    let to = stream::udp(&bed.b, V4[1], 0)?;

    setsockopt(&to, PreferBusyPoll, &true)?;
    setsockopt(&to, BusyPoll, &1000)?;
    (0..DATAGRAMS).try_for_each(|number| stream::deliver(&from, &to, &number.to_ne_bytes()))
}

/// A ring that is removed is polled until it is empty, whether its interrupt is pending or not.
fn restart(bed: &Bed) -> Result<()> {
    while_sending(&[Source::new(&bed.a)], |_| {
        for step in 0..16 {
            bed.b
                .ethtool("-G", &format!("rx {}", [256, 512][step % 2]))?;
            let received = bed.b.link()?.stat("rx_packets")?;
            bed.b.wait_received(received + 20)?;
        }
        Ok(())
    })
}
