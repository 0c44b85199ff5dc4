// SPDX-License-Identifier: GPL-2.0

//! The configuration that a port must have, and so what it must show and what it must refuse.

use super::program::{Attached, Choice, Mode};
use crate::{
    bed::{mac_text, Port},
    host::{ensure_eq, hwtstamp::Config},
    nl::ethtool::rss_contexts,
    support::{buffers, polls::napi},
    wire::Mac,
};
use anyhow::{anyhow, ensure, Context, Result};
use std::collections::{BTreeMap, BTreeSet};

pub const MIN_MTU: u32 = 68;
pub const MAX_MTU: u32 = buffers::MTU_MAX as u32;
/// The largest MTU with a program without frags support.
pub const SINGLE_MTU: u32 = buffers::SINGLE_MTU as u32;
/// The longest moderation time.
pub const MAX_USECS: u32 = 10_000;
/// Entries of the indirection table.
const TABLE: u32 = 128;

/// The features that are switched, by their names for `ethtool -K` and in `ethtool -k`.
pub const FEATURES: [(&str, &str); 8] = [
    ("rx", "rx-checksumming"),
    ("tx", "tx-checksum-ip-generic"),
    (TSO, "tcp-segmentation-offload"),
    ("gro", "generic-receive-offload"),
    ("rxhash", "receive-hashing"),
    ("rxvlan", "rx-vlan-offload"),
    ("txvlan", "tx-vlan-offload"),
    (NTUPLE, "ntuple-filters"),
];
const TSO: &str = "tso";

/// The private flags that are switched, and the MTU of those that limit it.
pub const FLAGS: [(&str, Option<u32>); 15] = [
    ("xdp-xmit-needs-prog", None),
    ("xdp-xmit-queue-per-cpu", None),
    ("xdp-attach-loses-frames", None),
    ("xdp-attach-link-down", None),
    ("xdp-replace-as-attach", None),
    ("xdp-headroom-192", None),
    ("xdp-headroom-256", None),
    ("xdp-mtu-1500", Some(1500)),
    ("xdp-mtu-3046", Some(3046)),
    (NO_FRAGS, None),
    ("xdp-xmit-no-frags", None),
    ("xdp-no-hint-timestamp", None),
    ("xdp-no-hint-hash", None),
    ("xdp-no-hint-vlan", None),
    ("rx-csum-before-xdp", None),
];
const NO_FRAGS: &str = "xdp-no-frags";
/// Flags of which at most one is on.
const GROUPS: [&str; 2] = ["xdp-headroom-", "xdp-mtu-"];
pub const NTUPLE: &str = "ntuple";

/// Interrupt moderation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Moderation {
    pub adaptive: bool,
    pub usecs: u32,
    pub frames: u32,
}

/// Where a rule sends frames.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Drop,
    Queue(u32),
    Context(u32),
}

/// The settings of a port.
pub struct Model {
    pub up: bool,
    pub mtu: u32,
    pub mac: Mac,
    pub promisc: bool,
    pub max_queues: u32,
    pub queues: u32,
    pub ring: u32,
    pub pause: [bool; 2],
    pub moderation: Moderation,
    /// Which frames get time stamps for sockets.
    pub stamps: Config,
    off: BTreeSet<&'static str>,
    /// The user's indirection table: this many queues in turn, from 0 on.
    pub equal: Option<u32>,
    pub key: Option<String>,
    pub symmetric: bool,
    /// RSS contexts by their numbers: each has this many queues in turn, from 0 on.
    pub contexts: BTreeMap<u32, u32>,
    /// Rules by their locations.
    pub rules: BTreeMap<u32, Target>,
    pub attached: Option<Attached>,
    /// The private flags that are on.
    flags: BTreeSet<&'static str>,
    /// By queue: for how many polls interrupts are deferred, and for how many nanoseconds each
    /// time.
    pub deferral: BTreeMap<u32, (u32, u64)>,
}

impl Model {
    /// A new port.
    pub fn new(queues: u32, ring: u32, mac: Mac) -> Self {
        Self {
            up: false,
            mtu: 1500,
            mac,
            promisc: false,
            max_queues: queues,
            queues,
            ring,
            pause: [true; 2],
            moderation: Moderation {
                adaptive: true,
                usecs: 0,
                frames: 64,
            },
            stamps: Config::OFF,
            off: BTreeSet::new(),
            equal: None,
            key: None,
            symmetric: false,
            contexts: BTreeMap::new(),
            rules: BTreeMap::new(),
            attached: None,
            flags: BTreeSet::new(),
            deferral: BTreeMap::new(),
        }
    }

    pub fn has(&self, feature: &str) -> bool {
        !self.off.contains(feature) && (feature != TSO || !self.off.contains("tx"))
    }

    /// Whether the feature can be switched now: without checksums there is no segmentation.
    pub fn can_switch(&self, feature: &str) -> bool {
        feature != TSO || !self.off.contains("tx")
    }

    pub fn switch(&mut self, feature: &'static str) {
        if !self.off.remove(feature) {
            self.off.insert(feature);
        }
        if !self.has(NTUPLE) {
            self.rules.clear();
        }
    }

    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }

    /// Switches a private flag.
    pub fn switch_flag(&mut self, flag: &'static str) {
        if self.flags.remove(flag) {
            return;
        }
        for group in GROUPS.iter().filter(|group| flag.starts_with(*group)) {
            self.flags.retain(|other| !other.starts_with(group));
        }
        self.flags.insert(flag);
    }

    /// How many queues the user's tables and rules need.
    pub fn queues_in_use(&self) -> Option<u32> {
        let by_rules = self.rules.values().filter_map(|target| match target {
            Target::Queue(queue) => Some(queue + 1),
            Target::Drop | Target::Context(_) => None,
        });

        by_rules
            .chain(self.equal)
            .chain(self.contexts.values().copied())
            .max()
    }

    /// The program attached in a mode.
    pub fn attached_as(&self, mode: Mode) -> Option<&Attached> {
        self.attached
            .as_ref()
            .filter(|attached| attached.choice.mode() == mode)
    }

    /// The largest MTU with the attached program.
    pub fn max_mtu(&self) -> u32 {
        self.attached_as(Mode::Driver)
            .map_or(MAX_MTU, |attached| self.max_mtu_with(attached.choice))
    }

    /// The largest MTU with a program.
    fn max_mtu_with(&self, choice: Choice) -> u32 {
        if choice.has_frags() && !self.has_flag(NO_FRAGS) {
            return MAX_MTU;
        }
        let limits = FLAGS.iter().filter(|(flag, _)| self.has_flag(flag));
        limits
            .filter_map(|(_, mtu)| *mtu)
            .fold(SINGLE_MTU, u32::min)
    }

    /// Whether the driver accepts a program with this MTU.
    pub fn accepts(&self, choice: Choice) -> bool {
        self.mtu <= self.max_mtu_with(choice)
    }

    /// Compares what a single query shows.
    pub fn check_link(&self, port: &Port, id: impl Fn(Choice) -> Option<u32>) -> Result<()> {
        let (link, name) = (port.link()?, &port.name);
        let expected = |mode| self.attached_as(mode).and_then(|a| id(a.choice));

        ensure_eq!(link.mtu, self.mtu, "{name}: MTU");
        ensure_eq!(link.max_mtu, self.max_mtu(), "{name}: largest MTU");
        ensure_eq!(link.mac, self.mac, "{name}: address");
        ensure_eq!(
            link.xdp_driver_id,
            expected(Mode::Driver),
            "{name}: driver's program"
        );
        ensure_eq!(
            link.xdp_generic_id,
            expected(Mode::Generic),
            "{name}: generic program"
        );
        Ok(())
    }

    /// Compares all settings with what ethtool and ip show.
    pub fn check_all(&self, port: &Port) -> Result<()> {
        let name = &port.name;
        let shows = |option: &str, expected: &[(&str, String)]| -> Result<()> {
            let text = port.ethtool(option, "")?;
            for (what, value) in expected {
                ensure_eq!(
                    last(&text, what)?,
                    *value,
                    "{name}: ethtool {option}: {what}"
                );
            }
            Ok(())
        };
        let on = |on: bool| if on { "on" } else { "off" }.to_owned();

        shows("-g", &[("RX", self.ring.to_string())])?;
        shows("-l", &[("Combined", self.queues.to_string())])?;
        shows(
            "-a",
            &[("RX", on(self.pause[0])), ("TX", on(self.pause[1]))],
        )?;
        shows(
            "-c",
            &[
                ("Adaptive RX", on(self.moderation.adaptive)),
                ("rx-usecs", self.moderation.usecs.to_string()),
                ("rx-frames", self.moderation.frames.to_string()),
            ],
        )?;
        let features: Vec<_> = FEATURES
            .iter()
            .map(|(short, long)| (*long, on(self.has(short))))
            .collect();
        shows("-k", &features)?;
        let flags: Vec<_> = FLAGS
            .iter()
            .map(|(flag, _)| (*flag, on(self.has_flag(flag))))
            .collect();
        shows("--show-priv-flags", &flags)?;
        self.check_rss(port)?;
        self.check_rules(port)?;
        self.check_deferral(port)?;

        let link = port.link()?;
        ensure_eq!(link.promiscuity == 1, self.promisc, "{name}: promiscuous");
        ensure_eq!(link.up, self.up, "{name}: up");
        ensure_eq!(Config::of(port)?, self.stamps, "{name}: time stamps");
        Ok(())
    }

    fn check_rss(&self, port: &Port) -> Result<()> {
        let text = port.ethtool("-x", "")?;

        check_table(port, &text, self.equal.unwrap_or(self.queues))?;
        if let Some(key) = &self.key {
            ensure!(
                text.contains(key),
                "{}: key {key} is not in {text}",
                port.name
            );
        }
        ensure_eq!(
            last(&text, "symmetric-xor")? == "on",
            self.symmetric,
            "{}: symmetric",
            port.name
        );
        let expected: Vec<_> = [0]
            .into_iter()
            .chain(self.contexts.keys().copied())
            .collect();
        ensure_eq!(rss_contexts(port)?, expected, "{}: contexts", port.name);
        self.contexts.iter().try_for_each(|(number, queues)| {
            let text = port.ethtool("-x", &format!("context {number}"))?;
            check_table(port, &text, *queues).with_context(|| format!("context {number}"))
        })
    }

    fn check_deferral(&self, port: &Port) -> Result<()> {
        for queue in 0..if self.up { self.queues } else { 0 } {
            let found = napi(port, queue.into())?.settings;

            ensure_eq!(
                (found.defer_hard_irqs, found.gro_flush_timeout),
                self.deferral.get(&queue).copied().unwrap_or_default(),
                "{}: deferral of queue {queue}",
                port.name
            );
        }
        Ok(())
    }

    fn check_rules(&self, port: &Port) -> Result<()> {
        let text = port.ethtool("-n", "")?;
        let locations: BTreeSet<u32> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Filter: ")?.parse().ok())
            .collect();
        let expected: BTreeSet<_> = self.rules.keys().copied().collect();

        ensure_eq!(locations, expected, "{}: locations of rules", port.name);
        Ok(())
    }
}

/// Fails unless an indirection table in the output of `ethtool -x` has `among` queues in turn, from
/// 0 on.
fn check_table(port: &Port, text: &str, among: u32) -> Result<()> {
    let table: Vec<u32> = text
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with("RSS"))
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(_, queues)| queues.split_whitespace().map(str::parse))
        .collect::<Result<_, _>>()?;
    let expected: Vec<_> = (0..TABLE).map(|entry| entry % among).collect();

    ensure_eq!(table, expected, "{}: indirection table", port.name);
    Ok(())
}

/// The value of the last line with that name: the current one, after the maximum.
fn last(text: &str, name: &str) -> Result<String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(found, _)| found.trim() == name)
        .filter_map(|(_, value)| value.split_whitespace().next())
        .next_back()
        .map(str::to_owned)
        .ok_or_else(|| anyhow!("no {name} in {text}"))
}

/// An Ethernet address that a user sets.
pub fn mac(number: u64) -> (Mac, String) {
    let bytes = number.to_be_bytes();
    let mac = [0x02, 0x6f, bytes[4], bytes[5], bytes[6], bytes[7]];

    (mac, mac_text(&mac))
}
