// SPDX-License-Identifier: GPL-2.0

//! Which CPUs send by which transmit queue (XPS): the default map of a port, and the user's map,
//! which replaces it.

use crate::{
    bed::{Bed, Port},
    harness::case,
    host::{cpus, ensure_eq},
    nl::link::New,
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{Context, Result};

const QUEUES: usize = 4;

const FOUR: &str = "queues=4 ring_size=64";
const TWO: &str = "queues=2 ring_size=64";

fn file(queue: usize) -> String {
    format!("queues/tx-{queue}/xps_cpus")
}

/// The CPUs of a queue, as bits.
fn map(port: &Port, queue: usize) -> Result<u64> {
    let file = file(queue);
    let text = port.read_sysfs(&file)?;

    // There is a comma between words of 32 bits.
    u64::from_str_radix(&text.replace(',', ""), 16)
        .with_context(|| format!("{}, {file}: {text}", port.name))
}

fn set_map(port: &Port, queue: usize, map: u64) -> Result<()> {
    port.write_sysfs(&file(queue), &format!("{map:x}"))
}

/// What a queue has by default.
fn default_of(queue: usize) -> Result<u64> {
    let cpus = cpus::all()?;

    Ok(1 << cpus[queue % cpus.len()])
}

fn all_defaults(count: usize) -> Result<Vec<u64>> {
    (0..count).map(default_of).collect()
}

fn expect(port: &Port, expected: &[u64], what: &str) -> Result<()> {
    let maps: Vec<_> = (0..expected.len())
        .map(|queue| map(port, queue))
        .collect::<Result<_>>()?;

    ensure_eq!(maps, expected, "{what}: XPS maps of {}", port.name);
    Ok(())
}

case!(ports "xps::default_map", FOUR, default_map);
fn default_map(bed: &Bed) -> Result<()> {
    let expected = all_defaults(QUEUES)?;

    for what in ["never up", "up"] {
        for port in [&bed.a, &bed.b] {
            expect(port, &expected, what)?;
        }
        bed.up()?;
    }
    Ok(())
}

case!(ports "xps::map_of_a_new_port", FOUR, new_port);
fn new_port(bed: &Bed) -> Result<()> {
    let ns = &bed.a.ns;

    ns.enter(|| New::port().add("ox9"))?;
    let port = Port::find(ns, "ox9")?;
    expect(&port, &all_defaults(QUEUES)?, "made by the user")?;
    port.delete()
}

case!(ports "xps::map_of_the_user", FOUR, map_of_the_user);
/// It stays, whether it was set before the port was first up or later.
fn map_of_the_user(bed: &Bed) -> Result<()> {
    let port = &bed.a;
    let mut maps = all_defaults(QUEUES)?;

    // None at all, and one more than it had.
    for (queue, map) in [(0, 0), (1, default_of(0)? | default_of(1)?)] {
        set_map(port, queue, map)?;
        maps[queue] = map;
        bed.up()?;
        expect(port, &maps, "up")?;
        port.down()?;
        expect(port, &maps, "down")?;
        port.up()?;
        expect(port, &maps, "up again")?;
        port.ethtool("-G", "rx 128")?;
        port.ethtool("-G", "rx 64")?;
        expect(port, &maps, "after -G")?;
        port.ethtool("-L", "combined 2")?;
        expect(port, &maps[..2], "after -L with fewer queues")?;
        port.ethtool("-L", &format!("combined {QUEUES}"))?;
        expect(port, &maps, "after -L with more queues")?;
    }
    Ok(())
}

case!(ports "xps::map_of_added_queues", FOUR, added_queues);
/// An added queue has the default map, whatever it had when it was removed, and whether the port is
/// up or not.
fn added_queues(bed: &Bed) -> Result<()> {
    let port = &bed.a;
    let maps = all_defaults(QUEUES)?;

    for up in [false, true] {
        if up {
            bed.up()?;
        }
        for queue in 1..QUEUES {
            set_map(port, queue, 0)?;
        }
        port.ethtool("-L", "combined 1")?;
        expect(port, &maps[..1], "one queue")?;
        for count in [2, QUEUES] {
            port.ethtool("-L", &format!("combined {count}"))?;
            expect(port, &maps[..count], "queues added")?;
        }
    }
    Ok(())
}

case!(ports "xps::sender_uses_its_queue", TWO, sender; two_cpus());
/// Every flow uses the queue of the sending CPU: by the default map, by the user's, and again after
/// the queue was removed and added.
fn sender(bed: &Bed) -> Result<()> {
    let port = &bed.a;
    let cpus = &cpus::all()?[..2];

    bed.up()?;
    for (queue, cpu) in cpus.iter().enumerate() {
        expect_sent(bed, *cpu, queue)?;
    }
    for (queue, cpu) in cpus.iter().rev().enumerate() {
        set_map(port, queue, 1 << cpu)?;
    }
    for (queue, cpu) in cpus.iter().rev().enumerate() {
        expect_sent(bed, *cpu, queue)?;
    }
    set_map(port, 0, 1 << cpus[0])?;
    port.ethtool("-L", "combined 1")?;
    for cpu in cpus {
        expect_sent(bed, *cpu, 0)?;
    }
    port.ethtool("-L", "combined 2")?;
    for (queue, cpu) in cpus.iter().enumerate() {
        expect_sent(bed, *cpu, queue)?;
    }
    Ok(())
}

/// Fails unless frames of many flows that this CPU sends all use this queue.
fn expect_sent(bed: &Bed, cpu: usize, queue: usize) -> Result<()> {
    const FLOWS: u32 = 32;
    let port = &bed.a;
    let received = bed.b.link()?.stat("rx_packets")?;
    let mut expected = port.counters()?.tx_each("packets")?;

    cpus::run_on(cpu, || {
        let sender = Sender::open(port)?;
        (0..FLOWS).try_for_each(|flow| sender.send(&Probe::new(flow, flow).frame()))
    })?;
    bed.b.wait_received(received + u64::from(FLOWS))?;
    expected[queue] += u64::from(FLOWS);
    ensure_eq!(
        port.counters()?.tx_each("packets")?,
        expected,
        "tx_queue_*_packets after frames sent on processor {cpu}"
    );
    Ok(())
}
