// SPDX-License-Identifier: GPL-2.0

//! Every number that ethtool sets, at its limits and far beyond, by the ioctl and by netlink: it is
//! set as it was said, or refused and nothing has changed.

mod numbers;
mod rss;
mod rules;

use super::state;
use crate::{
    bed::{Bed, Port},
    harness::case,
    host::{
        ensure_eq,
        ethtool::{self as ioctl, Ethtool},
    },
    nl::{
        ethtool::{
            self as netlink, ETHTOOL_MSG_COALESCE_SET, ETHTOOL_MSG_LINKINFO_SET,
            ETHTOOL_MSG_LINKMODES_SET, ETHTOOL_MSG_PAUSE_SET, ETHTOOL_MSG_RSS_GET,
        },
        Refused,
    },
    support::traffic::check_alive,
};
use anyhow::{ensure, Context, Result};

const QUEUES: u32 = 4;
/// Tried for every number, beside its own limits.
const EDGES: [u32; 4] = [0, 1, 1 << 31, u32::MAX];

case!(ports "limits::numbers_of_ethtool", "queues=4", |bed| on(bed, numbers::numbers));
case!(ports "limits::numbers_of_rss", "queues=4", |bed| on(bed, rss::rss));
case!(ports "limits::fields_of_rss", "queues=4", |bed| on(bed, rss::fields));
case!(ports "limits::places_of_rules", "queues=4", |bed| on(bed, rules::rules));
case!(ports "limits::what_ethtool_has_besides", "queues=4", |bed| on(bed, besides));
/// Tries something on a port that is up. Afterwards the port is as it was, and no queue stands
/// still.
fn on(bed: &Bed, work: fn(&Port) -> Result<()>) -> Result<()> {
    bed.up()?;
    let before = state(&bed.b)?;
    let received = bed.b.counters()?.rx_each("packets")?;
    work(&bed.b)?;
    ensure_eq!(state(&bed.b)?, before, "what ethtool shows in the end");
    check_alive(bed)?;
    let now = bed.b.counters()?.rx_each("packets")?;
    ensure!(
        now.len() == QUEUES as usize && now.iter().zip(&received).all(|(now, old)| now > old),
        "rings that received something: {received:?} before, {now:?} now"
    );
    Ok(())
}

/// A port, and all that ethtool shows of it at first but for its rules, as netlink has it.
struct Tried<'a> {
    port: &'a Port,
    shown: Vec<Vec<u8>>,
}

impl<'a> Tried<'a> {
    fn new(port: &'a Port) -> Result<Self> {
        let shown = Self::shown(port)?;

        Ok(Self { port, shown })
    }

    fn shown(port: &Port) -> Result<Vec<Vec<u8>>> {
        const GET: [u8; 10] = [
            ETHTOOL_MSG_LINKINFO_SET - 1,
            ETHTOOL_MSG_LINKMODES_SET - 1,
            netlink::ETHTOOL_MSG_LINKSTATE_GET,
            netlink::ETHTOOL_MSG_DEBUG_GET,
            netlink::ETHTOOL_MSG_FEATURES_GET,
            netlink::ETHTOOL_MSG_RINGS_SET - 1,
            netlink::ETHTOOL_MSG_CHANNELS_SET - 1,
            ETHTOOL_MSG_COALESCE_SET - 1,
            ETHTOOL_MSG_PAUSE_SET - 1,
            ETHTOOL_MSG_RSS_GET,
        ];

        netlink::get_each(port, &GET)
    }

    fn ensure_same(&self, what: &str) -> Result<()> {
        let same = Self::shown(self.port)? == self.shown;

        ensure!(same, "{what}: something has changed");
        Ok(())
    }

    /// Sets something, which the kernel has to take or to refuse as `taken` says. What is taken is
    /// looked at and undone; in any case nothing is different in the end.
    fn attempt(
        &self,
        what: &str,
        taken: bool,
        set: impl FnOnce() -> Result<bool>,
        check: impl FnOnce() -> Result<()>,
        undo: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        ensure_eq!(set().context(what.to_owned())?, taken, "{what}: taken");
        if taken {
            check().context(what.to_owned())?;
            undo().with_context(|| format!("{what}: the same as before"))?;
        }
        self.ensure_same(what)
    }
}

/// Whether netlink has taken what was asked for.
fn is_taken(result: Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) => error.downcast::<Refused>().map(|_| false),
    }
}

/// Hands a structure to the ioctl, and says whether it was taken.
fn call(ethtool: &Ethtool, start: &[u32]) -> Result<bool> {
    let mut words = [0; 512];

    words[..start.len()].copy_from_slice(start);
    Ok(ethtool.call(&mut words)?.is_ok())
}

/// Commands for what a port does not have are refused, whatever they say.
fn besides(port: &Port) -> Result<()> {
    let ethtool = Ethtool::open(port)?;
    let tried = Tried::new(port)?;

    for command in [
        ioctl::SWOL,
        ioctl::NWAY_RST,
        ioctl::RESET,
        ioctl::SEEE,
        ioctl::STUNABLE,
        ioctl::SFECPARAM,
    ] {
        for value in EDGES {
            let words = [&[command][..], &[value; 20]].concat();
            let what = format!("command {command:#x} with {value:#x}");
            tried.attempt(
                &what,
                false,
                || call(&ethtool, &words),
                || Ok(()),
                || Ok(()),
            )?;
        }
    }
    Ok(())
}
