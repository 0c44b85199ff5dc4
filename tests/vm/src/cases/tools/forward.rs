// SPDX-License-Identifier: GPL-2.0

//! xdp-forward: a router whose stack sees nothing of what it forwards.

use super::{run, Pins, Status};
use crate::{
    bed::{Bed, Port},
    harness::case,
    host::{ensure_eq, netns::Netns},
    support::steer::SecondPair,
    wire::stream::{data, ensure_data, read_all, tcp_pair},
};
use anyhow::{anyhow, ensure, Result};
use std::{fs, io::Write, thread};

const PINGS: u64 = 5;
const BYTES: usize = 300_000;

/// The two hosts' networks, IPv4 and IPv6, as `ip route` takes them.
const NETS: [[&str; 2]; 2] = [
    ["10.77.1.0/24", "fd77:1::/64"],
    ["10.77.2.0/24", "fd77:2::/64"],
];
const HOSTS: [[&str; 2]; 2] = [["10.77.1.1", "fd77:1::1"], ["10.77.2.1", "fd77:2::1"]];
const ROUTER: [[&str; 2]; 2] = [["10.77.1.9", "fd77:1::9"], ["10.77.2.9", "fd77:2::9"]];

case!(ports "tools::forward", "pairs=2", forward);
fn forward(bed: &Bed) -> Result<()> {
    let pins = Pins::watch()?;
    let path = Path::make(bed)?;
    let ports = format!("{} {}", path.near.name, path.far.name);

    path.by_stack("without a program")?;
    run(
        path.near,
        &format!("xdp-forward load --fib-mode full --xdp-mode native {ports}"),
    )?;
    for port in [path.near, &path.far] {
        let status = Status::of(port)?;
        ensure_eq!(status.mode, "native", "xdp-loader status: mode");
        ensure_eq!(status.chain.len(), 1, "programs of {}", port.name);
    }
    path.by_xdp()?;
    run(path.near, &format!("xdp-forward unload {ports}"))?;
    pins.ensure_none()?;
    path.by_stack("unloaded")
}

/// Two hosts, each in a namespace of its own, and the ports of the router between them.
struct Path<'a> {
    left: &'a Port,
    near: &'a Port,
    far: Port,
    right: Port,
    _pair: SecondPair,
}

impl<'a> Path<'a> {
    fn make(bed: &'a Bed) -> Result<Self> {
        let pair = SecondPair::make(bed)?;
        let path = Self {
            left: &bed.a,
            near: &bed.b,
            far: pair.near.clone(),
            right: pair.far.clone(),
            _pair: pair,
        };
        let router = &path.near.ns;

        for port in [path.left, path.near, &path.far, &path.right] {
            let v6 = format!("ipv6/conf/{}", port.name);

            for (key, value) in [("disable_ipv6", "0"), ("router_solicitations", "0")] {
                port.ns.sysctl(&format!("{v6}/{key}"), value)?;
            }
            port.up()?;
        }
        router.sysctl("ipv4/ip_forward", "1")?;
        router.sysctl("ipv6/conf/all/forwarding", "1")?;
        for (net, host, near) in [(0, path.left, path.near), (1, &path.right, &path.far)] {
            host.wait_running(true)?;
            near.wait_running(true)?;
            join(host, near, HOSTS[net], ROUTER[net])?;
            join(near, host, ROUTER[net], HOSTS[net])?;
            for (away, via) in NETS[1 - net].iter().zip(ROUTER[net]) {
                host.ns.ip(&format!("route add {away} via {via}"))?;
            }
        }
        Ok(path)
    }

    /// The router's stack forwards, and its ports redirect nothing.
    fn by_stack(&self, when: &str) -> Result<()> {
        let before = self.forwarded()?;
        self.ping()?;
        let after = self.forwarded()?;

        ensure!(
            // Requests and replies, over IPv4 and IPv6.
            after.stack - before.stack >= 4 * PINGS && after.xdp == before.xdp,
            "{when}: before {before:?}, after {after:?}"
        );
        Ok(())
    }

    /// The other way round. The neighbours are known, so there is nothing to ask the stack for.
    fn by_xdp(&self) -> Result<()> {
        let before = self.forwarded()?;
        self.ping()?;
        for to in HOSTS[1] {
            self.tcp(to)?;
        }
        let after = self.forwarded()?;

        ensure_eq!(after.stack, before.stack, "frames the stack forwarded");
        for ([taken, sent], [taken_before, sent_before]) in after.xdp.into_iter().zip(before.xdp) {
            ensure!(
                taken - taken_before > 2 * PINGS && sent - sent_before == taken - taken_before,
                "before {before:?}, after {after:?}"
            );
        }
        Ok(())
    }

    fn ping(&self) -> Result<()> {
        for to in HOSTS[1] {
            self.left.ns.ping(&format!("-c {PINGS} -i 0.1 {to}"))?;
        }
        Ok(())
    }

    fn tcp(&self, to: &str) -> Result<()> {
        let sent = data(1, BYTES);
        let (mut near, far) = tcp_pair(self.left, &self.right, to)?;

        thread::scope(|scope| {
            let sender = scope.spawn(|| near.write_all(&sent));

            ensure_data("TCP through xdp-forward", &read_all(&far, BYTES)?, &sent)?;
            sender
                .join()
                .map_err(|_| anyhow!("the sender panicked"))?
                .map_err(Into::into)
        })
    }

    fn forwarded(&self) -> Result<Forwarded> {
        let (near, far) = (self.near.counters()?, self.far.counters()?);

        Ok(Forwarded {
            stack: forwarded_by_stack(&self.near.ns)?,
            xdp: [
                [near.rx("xdp_redirect")?, far.tx("xdp_xmit")?],
                [far.rx("xdp_redirect")?, near.tx("xdp_xmit")?],
            ],
        })
    }
}

/// Who forwarded how many frames so far.
#[derive(Debug)]
struct Forwarded {
    stack: u64,
    /// Redirected from one port and sent by the other: to the right, to the left.
    xdp: [[u64; 2]; 2],
}

/// Gives a port its addresses, and tells it where its peer is.
fn join(port: &Port, peer: &Port, addresses: [&str; 2], peers: [&str; 2]) -> Result<()> {
    let mac = peer.mac()?;

    for (address, prefix) in addresses.iter().zip([24, 64]) {
        port.add_address(&format!("{address}/{prefix}"))?;
    }
    peers
        .iter()
        .try_for_each(|address| port.add_neighbour(address, &mac))
}

/// Packets that a namespace's stack has forwarded, IPv4 and IPv6 together.
fn forwarded_by_stack(ns: &Netns) -> Result<u64> {
    let (v4, v6) = ns.enter(|| {
        // Of the thread, for that is what is in the namespace.
        Ok((
            fs::read_to_string("/proc/thread-self/net/snmp")?,
            fs::read_to_string("/proc/thread-self/net/snmp6")?,
        ))
    })?;
    // A line of names, then one of values.
    let mut lines = v4.lines().filter(|line| line.starts_with("Ip:"));
    let names = lines.next().unwrap_or_default().split_whitespace();
    let values = lines.next().unwrap_or_default().split_whitespace();
    let v4 = names
        .zip(values)
        .find_map(|(name, value)| (name == "ForwDatagrams").then_some(value));
    let v6 = v6
        .lines()
        .find_map(|line| line.strip_prefix("Ip6OutForwDatagrams"));

    match (v4, v6) {
        (Some(v4), Some(v6)) => Ok(v4.parse::<u64>()? + v6.trim().parse::<u64>()?),
        _ => Err(anyhow!("no counters of forwarded packets")),
    }
}
