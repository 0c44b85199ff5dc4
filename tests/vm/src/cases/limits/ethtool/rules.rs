// SPDX-License-Identifier: GPL-2.0

//! Rules.

use super::{call, Tried, QUEUES};
use crate::{
    bed::Port,
    host::{
        ensure_eq,
        ethtool::{self as ioctl, Ethtool},
    },
    support::ntuple::places,
};
use anyhow::{ensure, Result};

/// Places, queues and kinds of rules, by the ioctl; netlink has no rules.
pub fn rules(port: &Port) -> Result<()> {
    const UDP4: u32 = 2;
    const MOST: u32 = 64;
    /// `RX_CLS_LOC_SPECIAL` is a bit; these three have it: the last free place, the first, any.
    const SPECIAL: [u32; 3] = [u32::MAX - 2, u32::MAX - 1, u32::MAX];
    const DROP: u64 = u64::MAX;
    let ethtool = Ethtool::open(port)?;
    let tried = Tried::new(port)?;
    let insert = |flow: u32, cookie: u64, place: u32| {
        let mut words = [0; 47];
        words[0] = ioctl::SRXCLSRLINS;
        words[4] = flow;
        words[42] = cookie as u32;
        words[43] = (cookie >> 32) as u32;
        words[44] = place;
        call(&ethtool, &words)
    };
    let delete = |place: u32| {
        let mut words = [0; 47];
        words[0] = ioctl::SRXCLSRLDEL;
        words[44] = place;
        call(&ethtool, &words)
    };
    let attempt = |what: String, expected: Option<u32>, set: &dyn Fn() -> Result<bool>| {
        tried.attempt(
            &what,
            expected.is_some(),
            set,
            || {
                ensure_eq!(places(port)?, expected.as_slice(), "places");
                Ok(())
            },
            || {
                let taken = delete(expected.unwrap_or(0))?;
                ensure!(taken, "the rule cannot be deleted");
                Ok(())
            },
        )?;
        ensure_eq!(places(port)?, Vec::<u32>::new(), "{what}: rules in the end");
        Ok::<_, anyhow::Error>(())
    };

    for place in [0, 1, MOST - 1, MOST, MOST + 1, 1 << 31, u32::MAX - 3]
        .into_iter()
        .chain(SPECIAL)
    {
        let expected = match place {
            place if place < MOST => Some(place),
            place if place == SPECIAL[0] => Some(MOST - 1),
            place => SPECIAL.contains(&place).then_some(0),
        };
        attempt(format!("a rule at {place}"), expected, &|| {
            insert(UDP4, 0, place)
        })?;
        ensure!(!delete(place)?, "deleted what is not at {place}");
    }
    for queue in [0, QUEUES - 1, QUEUES, 255, 256, 1 << 31, u32::MAX] {
        let expected = (queue < QUEUES).then_some(5);
        let what = format!("a rule for queue {queue}");
        attempt(what, expected, &|| insert(UDP4, queue.into(), 5))?;
    }
    for (cookie, expected) in [
        (DROP, Some(5)),
        (DROP - 1, None),
        (1 << 32, None),
        (1 << 40, None),
        (1 << 63, None),
    ] {
        let what = format!("a rule that does {cookie:#x}");
        attempt(what, expected, &|| insert(UDP4, cookie, 5))?;
    }
    // TCP, UDP and anything over IPv4 and IPv6; Ethernet needs an address or a type.
    for flow in (0..=30).chain([1 << 29, 1 << 30, 1 << 31, u32::MAX]) {
        let is_kind = [1, 2, 5, 6, 13, 14, 18].contains(&flow);
        let what = format!("a rule for flows {flow:#x}");
        attempt(what, is_kind.then_some(5), &|| insert(flow, 0, 5))?;
    }
    Ok(())
}
