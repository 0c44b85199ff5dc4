// SPDX-License-Identifier: GPL-2.0

//! Devices of the stack on top of ports: macvlans, bridges and bonds, each with and without a
//! program in the port below. VLAN devices are in [`super::vlan`].

use crate::{
    bed::{mac_text, Bed, Port},
    bpf::Program,
    harness::case,
    host::{cmd, ensure_eq, netns::Netns, wait_until},
    nl::link::New,
    support::{
        ports::is_promiscuous,
        steer::{Chain, SecondPair},
        traffic::settle_wire,
    },
    wire::{packet::Sender, probe::Probe, Mac},
};
use anyhow::{ensure, Context, Result};

/// Addresses that are pinged.
const HOSTS: [&str; 3] = ["10.77.0.1", "10.77.0.2", "10.77.0.3"];

fn ping(from: &Netns, to: &str) -> Result<()> {
    from.ping(&format!("-c 3 -i 0.01 -s 1400 {to}")).map(drop)
}

fn up_with_address(port: &Port, address: &str) -> Result<()> {
    port.up()?;
    port.add_address(&format!("{address}/24"))?;
    port.wait_running(true)
}

/// Without an address a port has no neighbours: the kernel would ask those it has not heard of for
/// some seconds whether they are still there.
fn silence(port: &Port) -> Result<()> {
    port.ns
        .ip(&format!("addr flush dev {}", port.name))
        .map(drop)
}

/// A namespace for a device on top of a port, removed when the test ends: the harness does not know
/// of it.
struct Guest(Netns);

impl Guest {
    const NAME: &'static str = "oxd";

    fn make() -> Result<Self> {
        Ok(Self(Netns::create(Self::NAME)?))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // A name that stays fails the next test.
        let _ = self.0.delete();
    }
}

/// Sends a frame from A, and fails unless B takes it, or drops and counts it.
fn one_frame(bed: &Bed, what: &str, to: &Mac, taken: bool) -> Result<()> {
    let probe = Probe {
        dst: *to,
        ..Probe::new(1, 0)
    };
    let (_, before) = settle_wire(bed)?;
    Sender::open(&bed.a)?.send(&probe.frame())?;
    let (_, after) = settle_wire(bed)?;

    ensure_eq!(
        (
            after.counters.rx("packets")? - before.counters.rx("packets")?,
            after.counters.dropped_by("mac_filter")? - before.counters.dropped_by("mac_filter")?
        ),
        (u64::from(taken), u64::from(!taken)),
        "{what}: frames that B took and dropped"
    );
    Ok(())
}

case!(ports "stacked::macvlan", "", macvlan);
/// Two macvlans on a port, one in a namespace of its own: they talk to the other end of the wire
/// and to each other. The port looks out for their addresses and need not be promiscuous.
fn macvlan(bed: &Bed) -> Result<()> {
    let guest = Guest::make()?;
    let program = Program::load("count", "count_pass")?;

    bed.up()?;
    up_with_address(&bed.a, HOSTS[0])?;
    let [near, far] =
        ["mv1", "mv2"].map(|name| Port::add(&bed.b.ns, name, New::macvlan(bed.b.ifindex)));
    let (near, far) = (near?, far?.to_ns(&guest.0)?);
    up_with_address(&near, HOSTS[1])?;
    up_with_address(&far, HOSTS[2])?;

    for attached in [false, true] {
        if attached {
            bed.b.attach(&program)?;
        }
        for (from, to) in [
            (&bed.a.ns, HOSTS[1]),
            (&bed.a.ns, HOSTS[2]),
            (&guest.0, HOSTS[0]),
            (&guest.0, HOSTS[1]),
            (&bed.b.ns, HOSTS[2]),
        ] {
            ping(from, to).with_context(|| format!("with a program: {attached}"))?;
        }
    }
    ensure!(program.seen()? > 0, "the program saw no frame");
    ensure!(!is_promiscuous(&bed.b)?, "B is promiscuous");

    for port in [&bed.a, &near, &far] {
        silence(port)?;
    }
    let (near_mac, far_mac) = (near.mac()?, far.mac()?);
    one_frame(bed, "to mv1", &near_mac, true)?;
    one_frame(bed, "to mv2", &far_mac, true)?;
    one_frame(bed, "to nobody", &[0x02, 0, 0, 0, 0, 0x77], false)?;
    far.delete()?;
    // Until here the port may not have been told.
    bed.b.up()?;
    one_frame(bed, "to mv1, which is still there", &near_mac, true)?;
    one_frame(bed, "to mv2, which is gone", &far_mac, false)
}

case!(ports "stacked::bridge", "pairs=2", bridge);
/// Ports of two pairs in a bridge, which has to see all frames: the far ends talk to each other.
fn bridge(bed: &Bed) -> Result<()> {
    let second = SecondPair::make(bed)?;
    let programs = [
        Program::load("count", "count_pass")?,
        Program::load("count", "count_pass")?,
    ];
    let ports = [&bed.b, &second.near];
    let ns = &bed.b.ns;

    bed.up()?;
    second.up()?;
    let bridge = Port::add(ns, "br0", New::bridge())?;
    for port in ports {
        port.join(&bridge)?;
        ensure!(is_promiscuous(port)?, "{} is not promiscuous", port.name);
    }
    up_with_address(&bridge, HOSTS[1])?;
    up_with_address(&bed.a, HOSTS[0])?;
    up_with_address(&second.far, HOSTS[2])?;

    for attached in [false, true] {
        if attached {
            for (port, program) in ports.iter().zip(&programs) {
                port.attach(program)?;
            }
        }
        for (from, to) in [
            (&bed.a.ns, HOSTS[2]),
            (&second.far.ns, HOSTS[0]),
            (&bed.a.ns, HOSTS[1]),
            (ns, HOSTS[2]),
        ] {
            ping(from, to).with_context(|| format!("with programs: {attached}"))?;
        }
    }
    for program in &programs {
        ensure!(program.seen()? > 0, "a program saw no frame");
    }
    let pair = Bed {
        a: second.near.clone(),
        b: second.far.clone(),
    };
    for bed in [bed, &pair] {
        let (a, b) = settle_wire(bed)?;

        for end in [a, b] {
            ensure_eq!(
                end.counters.dropped_by("mac_filter")?,
                0,
                "{}: frames that the filter dropped",
                end.name
            );
        }
    }

    for port in ports {
        port.leave()?;
        ensure!(!is_promiscuous(port)?, "{} is promiscuous", port.name);
    }
    silence(&bed.a)?;
    one_frame(bed, "to the far end", &second.far.mac()?, false)
}

case!(ports "stacked::bond", "pairs=2", bond);
/// Each end of two wires in a bond, one wire in use at a time. All ports of a bond have its
/// address, and get back their own when they leave.
fn bond(bed: &Bed) -> Result<()> {
    let chain = Chain::make(bed)?;
    // ox0 with ox1, ox3 with ox2.
    let ends = [
        (&bed.a.ns, [&chain.first.a, &chain.second.b]),
        (&bed.b.ns, [&chain.first.b, &chain.second.a]),
    ];
    let program = Program::load("count", "count_pass")?;
    let mut bonds = Vec::new();
    let mut own = Vec::new();

    // Else there is one from the start.
    cmd::run("modprobe bonding max_bonds=0")?;
    for ((ns, ports), address) in ends.iter().zip(HOSTS) {
        let bond = Port::add(ns, "bond0", New::bond(20))?;
        for port in ports {
            own.push((*port, port.mac()?));
            port.join(&bond)?;
        }
        bond.up()?;
        bond.add_address(&format!("{address}/24"))?;
        bonds.push(bond);
    }
    for (bond, (_, ports)) in bonds.iter().zip(&ends) {
        bond.wait_running(true)?;
        for port in ports {
            ensure_eq!(
                mac_text(&port.mac()?),
                mac_text(&bond.mac()?),
                "address of {}",
                port.name
            );
        }
    }

    // The bond hands the program on to its ports.
    bonds[1].attach(&program)?;
    for attempt in ["first wire", "second wire", "first wire again"] {
        let used = if attempt == "second wire" { 1 } else { 0 };
        let [one, other] = [used, 1 - used].map(|n| ends[1].1[n]);

        one.up()?;
        // The other ends notice that the link is gone.
        other.down()?;
        for (bond, (_, ports)) in bonds.iter().zip(&ends) {
            wait_until(
                &format!("the bond over {} uses the {attempt}", ports[used].name),
                || Ok(bond.link()?.active_port == Some(ports[used].ifindex)),
            )?;
        }
        let seen = program.seen()?;
        ping(&bed.a.ns, HOSTS[1]).context(attempt)?;
        ensure!(program.seen()? > seen, "{attempt}: the program saw nothing");
    }
    for (_, ports) in &ends {
        for port in ports {
            ensure!(!is_promiscuous(port)?, "{} is promiscuous", port.name);
        }
    }

    bonds[1].detach()?;
    // The kernel warns if the first, whose address the bond has, leaves before the other.
    for (port, mac) in own.iter().rev() {
        port.leave()?;
        ensure_eq!(
            mac_text(&port.mac()?),
            mac_text(mac),
            "{}: address after the bond",
            port.name
        );
        port.up()?;
    }
    bed.a.wait_running(true)?;
    one_frame(bed, "to ox1's own address", &bed.b.mac()?, true)?;
    one_frame(bed, "to the bond's address", &bonds[1].mac()?, false)
}
