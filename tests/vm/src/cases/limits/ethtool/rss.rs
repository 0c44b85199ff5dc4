// SPDX-License-Identifier: GPL-2.0

//! Receive side scaling: tables and keys of any length, and what is in them; functions,
//! transformations, contexts and fields.

use super::{call, is_taken, Tried, QUEUES};
use crate::{
    bed::Port,
    host::{
        ensure_eq,
        ethtool::{self as ioctl, Ethtool},
    },
    nl::{
        attr,
        ethtool::{
            self as netlink, set_rss, Rss, ETHTOOL_A_RSS_FLOW_HASH, ETHTOOL_A_RSS_HKEY,
            ETHTOOL_A_RSS_INDIR, ETHTOOL_A_RSS_INPUT_XFRM, ETHTOOL_MSG_RSS_GET,
        },
        number,
    },
    support::rss::{spread, ENTRIES},
};
use anyhow::Result;

/// A table, a key and a transformation.
type Settings = (Vec<u32>, Vec<u8>, u32);

/// Those of a port's main context.
fn rss_of(port: &Port) -> Result<Settings> {
    let answer = netlink::get(port, ETHTOOL_MSG_RSS_GET)?;
    let table = attr(&answer, ETHTOOL_A_RSS_INDIR).unwrap_or_default();
    let key = attr(&answer, ETHTOOL_A_RSS_HKEY).unwrap_or_default();
    let transform = attr(&answer, ETHTOOL_A_RSS_INPUT_XFRM).map_or(Ok(0), number)?;

    Ok((
        table
            .chunks_exact(4)
            .map(|entry| Ok(number(entry)? as u32))
            .collect::<Result<_>>()?,
        key.to_vec(),
        transform as u32,
    ))
}

fn check(port: &Port, expected: &Option<Settings>) -> Result<()> {
    ensure_eq!(&Some(rss_of(port)?), expected, "table, key, transformation");
    Ok(())
}

/// Table, key, function and transformation of the main context, of any length and any value.
pub fn rss(port: &Port) -> Result<()> {
    const KEY: usize = 40;
    /// `ETH_RXFH_INDIR_NO_CHANGE` and `RXH_XFRM_NO_CHANGE`.
    const SAME_TABLE: u32 = u32::MAX;
    const SAME_TRANSFORM: u32 = 0xff << 8;
    let ethtool = Ethtool::open(port)?;
    let tried = Tried::new(port)?;
    let (default, own_key, _) = rss_of(port)?;
    let some_key = [0x5a; 2 * KEY];
    // All queues the other way round, and the last entry as said.
    let table = |len: usize, last: u32| -> Vec<u32> {
        let mut table: Vec<_> = (0..len as u32).map(|n| QUEUES - 1 - n % QUEUES).collect();
        if let Some(entry) = table.last_mut() {
            *entry = last;
        }
        table
    };
    let undo = || {
        let back = Rss {
            table: Some(&[]),
            key: Some(&own_key),
            transform: Some(0),
            ..Rss::default()
        };
        set_rss(port, &back)
    };
    let by_netlink = |what: String, rss: &Rss<'_>, expected: Option<Settings>| {
        tried.attempt(
            &format!("{what}, by netlink"),
            expected.is_some(),
            || is_taken(set_rss(port, rss)),
            || check(port, &expected),
            undo,
        )
    };
    let by_ioctl = |what: String, words: &[u32], expected: Option<Settings>| {
        tried.attempt(
            &format!("{what}, by ioctl"),
            expected.is_some(),
            || call(&ethtool, words),
            || check(port, &expected),
            undo,
        )
    };
    ensure_eq!(default, spread(QUEUES), "table by default");

    for len in [0, 1, 2, 3, 64, 127, 128, 129, 256] {
        let small = table(len, 2);
        let whole = small.iter().copied().cycle().take(ENTRIES).collect();
        let expected = match len {
            0 => Some(default.clone()),
            len => (ENTRIES % len == 0).then_some(whole),
        };
        let rss = Rss {
            table: Some(&small),
            ..Rss::default()
        };
        by_netlink(
            format!("a table of {len}"),
            &rss,
            expected.map(|table| (table, own_key.clone(), 0)),
        )?;
    }
    for len in [0, 1, 64, 127, 128, 129, 1 << 31, u32::MAX] {
        let full = table(ENTRIES, 1);
        let expected = match len {
            0 => Some((default.clone(), own_key.clone(), 0)),
            128 => Some((full.clone(), own_key.clone(), 0)),
            _ => None,
        };
        let words = [&[ioctl::SRXFHINDIR, len][..], &full].concat();
        by_ioctl(format!("a table of {len} alone"), &words, expected.clone())?;
        let head = [ioctl::SRSSH, 0, len, 0, SAME_TRANSFORM, 0];
        by_ioctl(
            format!("a table of {len}"),
            &[&head, &full[..]].concat(),
            expected,
        )?;
    }
    for last in [0, QUEUES - 1, QUEUES, 255, 256, 1 << 31, u32::MAX] {
        let full = table(ENTRIES, last);
        let expected = (last < QUEUES).then(|| (full.clone(), own_key.clone(), 0));
        let rss = Rss {
            table: Some(&full),
            ..Rss::default()
        };
        by_netlink(format!("an entry of {last}"), &rss, expected.clone())?;
        let head = [ioctl::SRSSH, 0, ENTRIES as u32, 0, SAME_TRANSFORM, 0];
        by_ioctl(
            format!("an entry of {last}"),
            &[&head, &full[..]].concat(),
            expected,
        )?;
    }
    for len in [0, 1, KEY - 1, KEY, KEY + 1, 2 * KEY] {
        let key = &some_key[..len];
        let expected = (len == KEY).then(|| (default.clone(), key.to_vec(), 0));
        let rss = Rss {
            key: Some(key),
            ..Rss::default()
        };
        by_netlink(format!("a key of {len}"), &rss, expected)?;
    }
    for len in [
        0,
        1,
        KEY as u32 - 1,
        KEY as u32,
        KEY as u32 + 1,
        1 << 31,
        u32::MAX,
    ] {
        let expected = (len == KEY as u32).then(|| (default.clone(), some_key[..KEY].to_vec(), 0));
        let head = [ioctl::SRSSH, 0, SAME_TABLE, len, SAME_TRANSFORM, 0];
        let words = [&head[..], &[0x5a5a_5a5a; KEY / 4]].concat();
        by_ioctl(format!("a key of {len}"), &words, expected)?;
    }
    let same = |transform| Some((default.clone(), own_key.clone(), transform));
    for value in [0, 1, 2, 3, 4, 0x7f, 0xff, 0x100, 0x101, 1 << 31, u32::MAX] {
        // Toeplitz.
        let as_function = (value == 1).then(|| same(0)).flatten();
        let as_transform = (value <= 2).then(|| same(value)).flatten();
        let rss = Rss {
            function: Some(value),
            ..Rss::default()
        };
        by_netlink(format!("function {value}"), &rss, as_function.clone())?;
        let rss = Rss {
            transform: Some(value),
            ..Rss::default()
        };
        by_netlink(
            format!("transformation {value}"),
            &rss,
            as_transform.clone(),
        )?;
        if value <= 0xff {
            let head = |bits| [ioctl::SRSSH, 0, SAME_TABLE, 0, bits, 0];
            by_ioctl(
                format!("function {value}"),
                &head(value | SAME_TRANSFORM),
                as_function,
            )?;
            by_ioctl(
                format!("transformation {value}"),
                &head(value << 8),
                as_transform,
            )?;
        }
    }
    for context in [1, 31, 32, 1 << 31, u32::MAX - 1] {
        let rss = Rss {
            context,
            table: Some(&default),
            ..Rss::default()
        };
        by_netlink(format!("context {context}"), &rss, None)?;
        let head = [ioctl::SRSSH, context, ENTRIES as u32, 0, SAME_TRANSFORM, 0];
        by_ioctl(
            format!("context {context}"),
            &[&head, &default[..]].concat(),
            None,
        )?;
    }
    Ok(())
}

/// The fields that are hashed of every kind of flow there is, and of some that there is not.
pub fn fields(port: &Port) -> Result<()> {
    const ADDRESSES: u32 = 0x30;
    const PORTS: u32 = 0xc0;
    /// `TCP_V4_FLOW` and so on with their attributes, and what can be hashed of them.
    const FLOWS: [(u32, u16, u32); 6] = [
        (1, 4, ADDRESSES | PORTS),
        (2, 6, ADDRESSES | PORTS),
        (5, 5, ADDRESSES | PORTS),
        (6, 7, ADDRESSES | PORTS),
        (16, 2, ADDRESSES),
        (17, 3, ADDRESSES),
    ];
    const FIELDS: [u32; 9] = [0, 1, 4, 0x10, 0x30, 0x40, 0xf0, 0x100, 1 << 31];
    let ethtool = Ethtool::open(port)?;
    let tried = Tried::new(port)?;
    let by_netlink = |kind| -> Result<u32> {
        let answer = netlink::get(port, ETHTOOL_MSG_RSS_GET)?;
        let all = attr(&answer, ETHTOOL_A_RSS_FLOW_HASH).unwrap_or_default();
        Ok(attr(all, kind).map_or(Ok(0), number)? as u32)
    };
    let by_ioctl = |flow| -> Result<u32> {
        let mut words = [0; 512];
        words[..2].copy_from_slice(&[ioctl::GRXFH, flow]);
        ethtool.call(&mut words)??;
        Ok(words[2])
    };
    let check = |flow, kind, value| {
        ensure_eq!(
            (by_ioctl(flow)?, by_netlink(kind)?),
            (value, value),
            "fields"
        );
        Ok(())
    };
    let set_netlink = |kind, value| {
        let rss = Rss {
            fields: Some((kind, value)),
            ..Rss::default()
        };
        is_taken(set_rss(port, &rss))
    };

    for flow in (0..=30).chain([0x7fff_ffff, 1 << 31, u32::MAX]) {
        let known = FLOWS.iter().find(|(number, _, _)| *number == flow);
        for value in FIELDS {
            let taken = known.is_some_and(|(_, _, all)| value & !all == 0);
            let old = known.map_or(Ok(0), |_| by_ioctl(flow))?;
            let set = |value| call(&ethtool, &[ioctl::SRXFH, flow, value, 0]);
            let check = || check(flow, known.map_or(0, |(_, kind, _)| *kind), value);
            let what = format!("fields {value:#x} of flow {flow:#x}, by ioctl");
            tried.attempt(&what, taken, || set(value), check, || set(old).map(drop))?;
        }
    }
    for kind in 1..=26 {
        let known = FLOWS.iter().find(|(_, attribute, _)| *attribute == kind);
        let old = by_netlink(kind)?;
        for value in FIELDS.into_iter().filter(|value| *value != old) {
            let taken = known.is_some_and(|(_, _, all)| value & !all == 0);
            let check = || check(known.map_or(0, |(flow, _, _)| *flow), kind, value);
            let what = format!("fields {value:#x} of flow {kind}, by netlink");
            let undo = || set_netlink(kind, old).map(drop);
            tried.attempt(&what, taken, || set_netlink(kind, value), check, undo)?;
        }
    }
    Ok(())
}
