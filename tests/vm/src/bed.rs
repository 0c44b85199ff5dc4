// SPDX-License-Identifier: GPL-2.0

//! The test bed: two joined ports, each in a namespace of its own.

use crate::{
    bpf::Program,
    host::{ensure_eq, netns::Netns, wait_until},
    nl::{
        address,
        link::{self, Link, LinkAttribute, LinkFlags, New},
        neighbour, Refused,
    },
    stats::{Counters, Snapshot},
    wire::{frames::CTAG, Mac, NOBODY, SOURCE},
};
use anyhow::{anyhow, Context, Result};
use nix::{
    errno::Errno,
    net::if_::{if_nameindex, if_nametoindex},
};
use std::{
    os::fd::{AsFd, BorrowedFd},
    thread,
    time::Duration,
};

pub const NS_A: &str = "oxa";
pub const NS_B: &str = "oxb";

/// Long enough that a queueing discipline never drops what the tests send.
const TX_QUEUE_LEN: u32 = 10_000;
/// The wire counts as quiet after this long without a frame: longer than TCP delays an
/// acknowledgement.
const QUIET: Duration = Duration::from_millis(300);

/// A network device in a namespace.
#[derive(Clone, Debug)]
pub struct Port {
    pub ns: Netns,
    pub name: String,
    pub ifindex: u32,
}

impl Port {
    /// A device that is in the namespace already.
    pub fn find(ns: &Netns, name: &str) -> Result<Self> {
        let ifindex = ns
            .enter(|| if_nametoindex(name).with_context(|| format!("there is no device {name}")))?;

        Ok(Self {
            ns: ns.clone(),
            name: name.to_owned(),
            ifindex,
        })
    }

    /// Moves a device from the initial namespace.
    pub fn moved(name: &str, ns: &Netns) -> Result<Self> {
        Self::find(&Netns::initial(), name)?.move_to(ns)
    }

    /// Moves the device to another namespace, where it receives the tests' frames.
    pub fn move_to(&self, ns: &Netns) -> Result<Self> {
        let port = self.to_ns(ns)?;

        port.receive_probes()?;
        Ok(port)
    }

    /// Moves the device to another namespace.
    pub fn to_ns(&self, ns: &Netns) -> Result<Self> {
        let to = ns.file()?;

        self.ns
            .enter(|| link::set_netns(self.ifindex, to.as_fd(), TX_QUEUE_LEN))
            .with_context(|| format!("moving {}", self.name))?;
        Self::find(ns, &self.name)
    }

    /// Makes the port receive the tests' frames, whose address belongs to no port. A move to
    /// another namespace ends that.
    pub fn receive_probes(&self) -> Result<()> {
        [NOBODY, SOURCE]
            .iter()
            .try_for_each(|mac| self.receive(mac))
    }

    /// Makes the port receive frames to an address that is not its own.
    pub fn receive(&self, mac: &Mac) -> Result<()> {
        self.ns.enter(|| neighbour::receive(self.ifindex, mac))
    }

    /// Ends [`Port::receive`].
    pub fn receive_no_more(&self, mac: &Mac) -> Result<()> {
        self.ns
            .enter(|| neighbour::receive_no_more(self.ifindex, mac))
    }

    /// Makes a link in a namespace.
    pub fn add(ns: &Netns, name: &str, new: New) -> Result<Self> {
        ns.enter(|| new.add(name))
            .with_context(|| format!("making {name}"))?;
        Self::find(ns, name)
    }

    /// Deletes the device.
    pub fn delete(&self) -> Result<()> {
        self.ns
            .enter(|| link::delete(self.ifindex))
            .with_context(|| format!("deleting {}", self.name))
    }

    /// Tells the device to be up. It has a link only if its peer is up too.
    pub fn up(&self) -> Result<()> {
        self.set_up(true)
    }

    pub fn down(&self) -> Result<()> {
        self.set_up(false)
    }

    pub fn set_up(&self, up: bool) -> Result<()> {
        self.set_flags(LinkFlags::Up, up)
    }

    pub fn set_promisc(&self, on: bool) -> Result<()> {
        self.set_flags(LinkFlags::Promisc, on)
    }

    pub fn set_allmulticast(&self, on: bool) -> Result<()> {
        self.set_flags(LinkFlags::Allmulti, on)
    }

    fn set_flags(&self, flags: LinkFlags, on: bool) -> Result<()> {
        self.ns
            .enter(|| link::set_flags(self.ifindex, flags, on))
            .with_context(|| format!("{}: {flags:?}: {on}", self.name))
    }

    pub fn set_mtu(&self, mtu: usize) -> Result<()> {
        self.change(LinkAttribute::Mtu(u32::try_from(mtu)?))
    }

    pub fn set_mac(&self, mac: &Mac) -> Result<()> {
        self.change(LinkAttribute::Address(mac.to_vec()))
    }

    /// How many frames may wait to be sent.
    pub fn set_tx_queue_len(&self, len: u32) -> Result<()> {
        self.change(LinkAttribute::TxQueueLen(len))
    }

    /// Into how many segments the stack cuts a large frame at most.
    pub fn set_gso_max_segs(&self, most: u32) -> Result<()> {
        self.change(LinkAttribute::GsoMaxSegs(most))
    }

    /// Makes the device a port of a bridge or of a bond.
    pub fn join(&self, master: &Port) -> Result<()> {
        self.change(LinkAttribute::Controller(master.ifindex))
    }

    /// Ends [`Port::join`].
    pub fn leave(&self) -> Result<()> {
        self.change(LinkAttribute::Controller(0))
    }

    /// Changes a setting by netlink. The error can be downcast to [`Refused`] if it is the
    /// kernel's.
    pub fn change(&self, attribute: LinkAttribute) -> Result<()> {
        let what = format!("{}: {attribute:?}", self.name);

        self.ns
            .enter(|| link::change(self.ifindex, attribute))
            .context(what)
    }

    /// `ip link set dev PORT ...`, as a user types it.
    pub fn ip_link_set(&self, what: &str) -> Result<()> {
        self.ns
            .ip(&format!("link set dev {} {what}", self.name))
            .map(drop)
    }

    /// What `ip link set dev PORT ...` says when it has to fail.
    pub fn ip_link_set_refusal(&self, what: &str) -> Result<String> {
        self.ns
            .ip_refusal(&format!("link set dev {} {what}", self.name))
    }

    /// Gives the device an address, such as 10.77.0.1/24.
    pub fn add_address(&self, address: &str) -> Result<()> {
        let (ip, prefix_len) = address
            .split_once('/')
            .with_context(|| format!("an address without the length of its prefix: {address}"))?;
        let (ip, prefix_len) = (ip.parse()?, prefix_len.parse()?);

        self.ns
            .enter(|| address::add(self.ifindex, ip, prefix_len))
            .with_context(|| format!("{}: address {address}", self.name))
    }

    /// Tells the stack the Ethernet address of a neighbour.
    pub fn add_neighbour(&self, address: &str, mac: &Mac) -> Result<()> {
        let ip = address.parse()?;

        self.ns
            .enter(|| neighbour::add(self.ifindex, ip, mac))
            .with_context(|| format!("{}: neighbour {address}", self.name))
    }

    /// `ethtool OPTION PORT ...`
    pub fn ethtool(&self, option: &str, rest: &str) -> Result<String> {
        self.ns
            .exec(&format!("ethtool {option} {} {rest}", self.name))
    }

    /// What `ethtool OPTION PORT ...` says when it has to fail.
    pub fn ethtool_refusal(&self, option: &str, rest: &str) -> Result<String> {
        self.ns
            .exec_refusal(&format!("ethtool {option} {} {rest}", self.name))
    }

    /// Checks how many queues of each kind sysfs shows. A kernel without RPS shows no receive
    /// queues.
    pub fn expect_queues(&self, count: usize) -> Result<()> {
        let list = |name: &str| {
            self.ns
                .exec_with_sysfs(&format!("ls /sys/class/net/{name}/queues"))
        };
        let queues = list(&self.name)?;
        let of = |kind: &str| queues.lines().filter(|name| name.starts_with(kind)).count();

        ensure_eq!(of("tx-"), count, "{}: transmit queues in sysfs", self.name);
        if list("lo")?.contains("rx-") {
            ensure_eq!(of("rx-"), count, "{}: receive queues in sysfs", self.name);
        }
        Ok(())
    }

    /// Reads a file of the port in sysfs.
    pub fn read_sysfs(&self, file: &str) -> Result<String> {
        let path = format!("/sys/class/net/{}/{file}", self.name);
        let text = self.ns.exec_with_sysfs(&format!("cat {path}"))?;

        Ok(text.trim().to_owned())
    }

    /// Writes to a file of the port in sysfs.
    pub fn write_sysfs(&self, file: &str, value: &str) -> Result<()> {
        // The line is split at blanks, so the shell's argument must not contain one.
        self.ns
            .exec_with_sysfs(&format!(
                "bash -c echo${{IFS}}{value}>/sys/class/net/{}/{file}",
                self.name
            ))
            .map(drop)
    }

    /// Switches a kind of message on or off.
    pub fn msglvl(&self, what: &str) -> Result<()> {
        self.ethtool("-s", &format!("msglvl {what}")).map(drop)
    }

    pub fn link(&self) -> Result<Link> {
        self.ns.enter(|| Link::get(self.ifindex))
    }

    pub fn mac(&self) -> Result<Mac> {
        self.link()?
            .mac
            .try_into()
            .map_err(|_| anyhow!("{} has no Ethernet address", self.name))
    }

    pub fn counters(&self) -> Result<Counters> {
        Counters::of(self)
    }

    pub fn snapshot(&self) -> Result<Snapshot> {
        // In this order a frame still in flight makes the numbers differ, and cannot make them
        // equal.
        let counters = self.counters()?;

        Ok(Snapshot {
            name: self.name.clone(),
            counters,
            link: self.link()?,
        })
    }

    /// Attaches a program by netlink in driver mode.
    pub fn attach(&self, program: &Program) -> Result<()> {
        self.try_attach(Some(program), link::XDP_FLAGS_DRV_MODE, None)?
            .with_context(|| format!("attaching program {} to {}", program.id, self.name))
    }

    pub fn detach(&self) -> Result<()> {
        self.try_attach(None, link::XDP_FLAGS_DRV_MODE, None)?
            .with_context(|| format!("detaching from {}", self.name))
    }

    /// Attaches or detaches with any flags; the inner error is the kernel's refusal.
    pub fn try_attach(
        &self,
        program: Option<&Program>,
        flags: u32,
        expected: Option<Option<&Program>>,
    ) -> Result<Result<(), Refused>> {
        let fd = program.map(Program::fd).transpose()?;
        let expected = expected
            .map(|old| old.map(Program::fd).transpose())
            .transpose()?;

        self.try_attach_fd(fd, flags, expected)
    }

    /// As [`Port::try_attach`], with descriptors of programs.
    pub fn try_attach_fd(
        &self,
        fd: Option<BorrowedFd<'_>>,
        flags: u32,
        expected: Option<Option<BorrowedFd<'_>>>,
    ) -> Result<Result<(), Refused>> {
        match self
            .ns
            .enter(|| link::set_xdp(self.ifindex, fd, flags, expected))
        {
            Ok(()) => Ok(Ok(())),
            Err(error) => error.downcast::<Refused>().map(Err),
        }
    }

    /// Fails unless the kernel refuses to attach, with this error and a reason that contains
    /// `reason`.
    pub fn attach_refused(
        &self,
        program: Option<&Program>,
        flags: u32,
        expected: Option<Option<&Program>>,
        errno: Errno,
        reason: &str,
    ) -> Result<()> {
        let Err(refused) = self.try_attach(program, flags, expected)? else {
            anyhow::bail!(
                "{}: attached with flags {flags:#x} instead of {errno:?}",
                self.name
            );
        };

        ensure_eq!(
            refused.errno,
            errno,
            "{}: refusal (\"{}\")",
            self.name,
            refused.reason
        );
        anyhow::ensure!(
            refused.reason.contains(reason),
            "{}: reason: expected \"{reason}\", found \"{}\"",
            self.name,
            refused.reason
        );
        Ok(())
    }

    /// Waits until the port's receive rings have handed out `count` frames altogether.
    pub fn wait_received(&self, count: u64) -> Result<()> {
        let mut found = 0;

        wait_until(&format!("{} receives {count} frames", self.name), || {
            found = self.link()?.stat("rx_packets")?;
            Ok(found >= count)
        })
        .with_context(|| format!("{} has received {found} frames", self.name))
    }

    /// Waits until `count` frames have arrived at the port, received or lost in front of a ring.
    pub fn wait_accounted(&self, count: u64) -> Result<()> {
        let mut found = 0;

        wait_until(&format!("{count} frames arrive at {}", self.name), || {
            let link = self.link()?;
            found = link.stat("rx_packets")?
                + link.stat("rx_missed_errors")?
                + link.stat("rx_length_errors")?;
            Ok(found >= count)
        })
        .with_context(|| format!("{found} frames have arrived at {}", self.name))
    }

    pub fn wait_running(&self, running: bool) -> Result<()> {
        let state = if running { "up" } else { "down" };

        wait_until(&format!("the link of {} is {state}", self.name), || {
            Ok(self.link()?.running == running)
        })
    }
}

/// The names of all ports in the namespace of the calling thread.
pub fn port_names() -> Result<Vec<String>> {
    Ok(if_nameindex()?
        .iter()
        .map(|link| link.name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("ox"))
        .collect())
}

/// Ports `ox0` in namespace A and `ox1` in namespace B, down at first.
#[derive(Clone, Debug)]
pub struct Bed {
    pub a: Port,
    pub b: Port,
}

impl Bed {
    /// Sets up namespaces for the first pair of a module just loaded.
    pub fn make() -> Result<Self> {
        // Some disciplines drop frames that wait too long, as they do in a test that fills a ring.
        Netns::initial().sysctl("core/default_qdisc", "pfifo_fast")?;
        let ns_a = Netns::create(NS_A)?;
        let ns_b = Netns::create(NS_B)?;

        Ok(Self {
            a: Port::moved("ox0", &ns_a)?,
            b: Port::moved("ox1", &ns_b)?,
        })
    }

    /// Both directions: who sends, and who receives.
    pub fn ways(&self) -> [(&Port, &Port); 2] {
        [(&self.a, &self.b), (&self.b, &self.a)]
    }

    /// Brings both ports up and waits for the link.
    pub fn up(&self) -> Result<()> {
        self.a.up()?;
        self.b.up()?;
        self.a.wait_running(true)?;
        self.b.wait_running(true)
    }

    /// Both ports' counters, taken while nothing was in flight. A frame that the stack sends by
    /// itself, such as a late acknowledgement, could otherwise be counted at one port and not yet
    /// at the other.
    pub fn settled(&self) -> Result<(Snapshot, Snapshot)> {
        let frames = || -> Result<[u64; 4]> {
            let (a, b) = (self.a.link()?, self.b.link()?);

            Ok([
                a.stat("rx_packets")?,
                a.stat("tx_packets")?,
                b.stat("rx_packets")?,
                b.stat("tx_packets")?,
            ])
        };
        let mut quiet = None;

        wait_until("the wire is quiet", || {
            let before = frames()?;

            thread::sleep(QUIET);
            let both = (self.a.snapshot()?, self.b.snapshot()?);
            quiet = (frames()? == before).then_some(both);
            Ok(quiet.is_some())
        })?;
        quiet.ok_or_else(|| anyhow!("the wire is not quiet"))
    }

    /// Puts a device for VLAN 5, with an address of [`V4_VLAN`], on top of each port.
    pub fn add_vlans(&self) -> Result<()> {
        for (port, address) in [(&self.a, V4_VLAN[0]), (&self.b, V4_VLAN[1])] {
            let vlan = Port::add(&port.ns, "vl5", New::vlan(port.ifindex, CTAG, 5))?;

            vlan.add_address(&format!("{address}/24"))?;
            vlan.up()?;
        }
        Ok(())
    }

    /// As [`Bed::up`], with IPv4 and IPv6 addresses on both ports and neighbours known.
    pub fn up_with_addresses(&self) -> Result<()> {
        for (port, v4, v6) in [(&self.a, V4[0], V6[0]), (&self.b, V4[1], V6[1])] {
            let name = &port.name;

            for (key, value) in [
                ("router_solicitations", "0"),
                ("accept_dad", "0"),
                ("accept_ra", "0"),
                ("disable_ipv6", "0"),
            ] {
                port.ns.sysctl(&format!("ipv6/conf/{name}/{key}"), value)?;
            }
            Port::find(&port.ns, "lo")?.up()?;
            port.add_address(&format!("{v4}/24"))?;
            port.add_address(&format!("{v6}/64"))?;
        }
        self.up()?;
        for (port, peer, at) in [(&self.a, &self.b, 1), (&self.b, &self.a, 0)] {
            let mac = peer.mac()?;

            port.add_neighbour(V4[at], &mac)?;
            port.add_neighbour(V6[at], &mac)?;
        }
        Ok(())
    }
}

/// IPv4 addresses of the ports A and B.
pub const V4: [&str; 2] = ["10.77.0.1", "10.77.0.2"];
/// IPv4 addresses of the VLAN devices on top of the ports A and B.
pub const V4_VLAN: [&str; 2] = ["10.78.0.1", "10.78.0.2"];
/// IPv6 addresses of the ports A and B.
pub const V6: [&str; 2] = ["fd77::1", "fd77::2"];

pub fn mac_text(mac: &Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
