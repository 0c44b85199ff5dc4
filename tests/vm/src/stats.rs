// SPDX-License-Identifier: GPL-2.0

//! The counters of a port, and what must hold between those of two joined ports.

use crate::{
    bed::Port,
    host::{ensure_eq, ethtool::Ethtool},
    nl::link::Link,
};
use anyhow::{anyhow, Result};
use std::collections::BTreeMap;

/// `ethtool -S` of a port.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    pub fn of(port: &Port) -> Result<Self> {
        Ok(Self(Ethtool::open(port)?.counters()?.into_iter().collect()))
    }

    /// Whether no frame has gone anywhere since `old` was read. Polls that look in vain for buffers
    /// of a socket are counted, too, and go on.
    pub fn at_rest_since(&self, old: &Self) -> bool {
        let of_frames = |(name, _): &(&String, &u64)| !name.ends_with("_xsk_fill_empty");

        self.0
            .iter()
            .filter(of_frames)
            .eq(old.0.iter().filter(of_frames))
    }

    /// The values of a counter of each receive queue, by queue.
    pub fn rx_each(&self, what: &str) -> Result<Vec<u64>> {
        self.each("rx", what)
    }

    pub fn rx(&self, what: &str) -> Result<u64> {
        Ok(self.each("rx", what)?.iter().sum())
    }

    /// The values of a counter of each transmit queue, by queue.
    pub fn tx_each(&self, what: &str) -> Result<Vec<u64>> {
        self.each("tx", what)
    }

    pub fn tx(&self, what: &str) -> Result<u64> {
        Ok(self.each("tx", what)?.iter().sum())
    }

    /// Frames that the port dropped before a ring. `what` is the reason: `mac_filter`,
    /// `vlan_filter` or `ntuple`.
    pub fn dropped_by(&self, what: &str) -> Result<u64> {
        let name = format!("rx_{what}_drop");

        self.0
            .get(&name)
            .copied()
            .ok_or_else(|| anyhow!("ethtool -S shows no {name}"))
    }

    /// Frames that the port has put on the wire: of the stack, of XDP_TX, of redirects from other
    /// devices, and of AF_XDP sockets in zero-copy mode.
    pub fn sent(&self) -> Result<u64> {
        Ok(self.tx("packets")?
            + self.rx("xdp_tx")?
            + self.tx("xdp_xmit")?
            + self.tx("xsk_packets")?)
    }

    /// Frames that arrived at the port and were lost, by reason.
    pub fn losses(&self) -> Result<[(&'static str, u64); 6]> {
        Ok([
            ("no_buffer", self.rx("no_buffer")?),
            ("oversize", self.rx("oversize")?),
            ("down", self.rx("down")?),
            ("mac_filter_drop", self.dropped_by("mac_filter")?),
            ("vlan_filter_drop", self.dropped_by("vlan_filter")?),
            ("ntuple_drop", self.dropped_by("ntuple")?),
        ])
    }

    /// Frames that arrived at the port: received or lost for a named reason.
    pub fn arrived(&self) -> Result<u64> {
        let lost: u64 = self.losses()?.iter().map(|(_, frames)| frames).sum();

        Ok(self.rx("packets")? + lost)
    }

    fn each(&self, side: &str, what: &str) -> Result<Vec<u64>> {
        let values: Vec<_> = (0..)
            .map_while(|n| self.0.get(&format!("{side}_queue_{n}_{what}")))
            .copied()
            .collect();

        if values.is_empty() {
            return Err(anyhow!("ethtool -S shows no {side}_queue_0_{what}"));
        }
        Ok(values)
    }

    /// Checks several sums over the transmit queues at once.
    pub fn expect_tx(&self, who: &str, expected: &[(&str, u64)]) -> Result<()> {
        for (what, value) in expected {
            ensure_eq!(self.tx(what)?, *value, "{who}: tx_queue_*_{what}");
        }
        Ok(())
    }

    /// Checks several sums over the receive queues at once.
    pub fn expect_rx(&self, who: &str, expected: &[(&str, u64)]) -> Result<()> {
        for (what, value) in expected {
            ensure_eq!(self.rx(what)?, *value, "{who}: rx_queue_*_{what}");
        }
        Ok(())
    }
}

/// The verdicts that a frame can count under; exactly one for each frame that a program saw.
const VERDICTS: [&str; 8] = [
    "xdp_pass",
    "xdp_drop",
    "xdp_tx",
    "xdp_redirect",
    "xdp_aborted",
    "xdp_unknown",
    "xdp_tx_errors",
    "xdp_redirect_errors",
];

/// All counters of one port at one moment.
#[derive(Debug)]
pub struct Snapshot {
    pub name: String,
    pub counters: Counters,
    pub link: Link,
}

impl Snapshot {
    /// `ip -s link` and `ethtool -S` agree.
    pub fn check_link_stats(&self) -> Result<()> {
        self.compare_link_stats()?;
        ensure_eq!(
            self.link.stat("tx_dropped")?,
            self.counters.tx("dropped")?,
            "{}: link counter tx_dropped",
            self.name
        );
        Ok(())
    }

    /// As [`Snapshot::check_link_stats`] for a port that was told to send while it had no link:
    /// what the stack then drops in front of the driver is in `tx_dropped` too.
    pub fn check_link_stats_after_down(&self) -> Result<()> {
        self.compare_link_stats()?;
        anyhow::ensure!(
            self.link.stat("tx_dropped")? >= self.counters.tx("dropped")?,
            "{}: link counter tx_dropped is less than what the driver dropped",
            self.name
        );
        Ok(())
    }

    fn compare_link_stats(&self) -> Result<()> {
        let c = &self.counters;
        let expected = [
            ("rx_packets", c.rx("packets")?),
            ("rx_bytes", c.rx("bytes")?),
            ("tx_packets", c.sent()?),
            (
                "tx_bytes",
                c.tx("bytes")?
                    + c.rx("xdp_tx_bytes")?
                    + c.tx("xdp_xmit_bytes")?
                    + c.tx("xsk_bytes")?,
            ),
            ("rx_missed_errors", c.rx("no_buffer")?),
            ("rx_length_errors", c.rx("oversize")?),
            ("rx_errors", c.rx("oversize")?),
            (
                "rx_dropped",
                c.rx("down")?
                    + c.rx("skb_alloc_fail")?
                    + c.rx("xdp_no_frags")?
                    + c.rx("xsk_frags_invalid")?,
            ),
            ("tx_carrier_errors", c.tx("carrier")?),
            ("tx_errors", c.tx("carrier")? + c.tx("xsk_errors")?),
        ];

        for (name, value) in expected {
            ensure_eq!(
                self.link.stat(name)?,
                value,
                "{}: link counter {name}",
                self.name
            );
        }
        Ok(())
    }

    /// Each frame that came out of a ring with a program has exactly one verdict, or did not reach
    /// the program. Holds if a program was attached all the time.
    pub fn check_verdicts(&self) -> Result<()> {
        ensure_eq!(
            self.verdicts()?
                + self.counters.rx("xdp_no_frags")?
                + self.counters.rx("xsk_frags_invalid")?,
            self.counters.rx("packets")?,
            "{}: sum of all verdicts",
            self.name
        );
        Ok(())
    }

    /// How often the driver has run a program.
    pub fn verdicts(&self) -> Result<u64> {
        VERDICTS
            .into_iter()
            .map(|verdict| self.counters.rx(verdict))
            .sum()
    }
}

/// Every frame that `from` put on the wire, be it the stack's, a program's verdict or another
/// device's redirect, was received by `to` or lost for a named reason.
pub fn check_wire(from: &Snapshot, to: &Snapshot) -> Result<()> {
    let sent = from.counters.sent()?;
    let received = to.counters.rx("packets")?;
    let losses = to.counters.losses()?;
    let lost: u64 = losses.iter().map(|(_, frames)| frames).sum();

    ensure_eq!(
        received + lost,
        sent,
        "{} to {}: received {received}, lost {losses:?}, against sent",
        from.name,
        to.name
    );
    // The wire carries the same bytes out as in; only a lost frame's are missing.
    if lost == 0 {
        ensure_eq!(
            to.link.stat("rx_bytes")?,
            from.link.stat("tx_bytes")?,
            "{} to {}: bytes on the wire",
            from.name,
            to.name
        );
    }
    Ok(())
}

/// The wire in both directions, and each port's counters among themselves.
pub fn check_both(a: &Snapshot, b: &Snapshot) -> Result<()> {
    check_wire(a, b)?;
    check_wire(b, a)?;
    a.check_link_stats()?;
    b.check_link_stats()
}

/// As [`check_both`], after a port was told to send while it had no link.
pub fn check_both_after_down(a: &Snapshot, b: &Snapshot) -> Result<()> {
    check_wire(a, b)?;
    check_wire(b, a)?;
    a.check_link_stats_after_down()?;
    b.check_link_stats_after_down()
}
