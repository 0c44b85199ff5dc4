// SPDX-License-Identifier: GPL-2.0

//! Waits until no frame is in flight, so that a frame that has not arrived by then never will.

use crate::{
    bed::Port,
    host::{netns::Netns, rcu, wait_until},
    stats::Counters,
};
use anyhow::Result;
use nix::net::if_::if_nameindex;

/// The counters of every port in every namespace. Devices of other drivers, which have other
/// counters or none, and devices that are removed meanwhile are left out.
fn ports() -> Result<Vec<Counters>> {
    let mut all = Vec::new();

    for ns in Netns::all()? {
        let names = ns.enter(|| {
            Ok(if_nameindex()?
                .iter()
                .map(|link| link.name().to_string_lossy().into_owned())
                .collect::<Vec<_>>())
        });

        for name in names.into_iter().flatten() {
            let Ok(counters) = Port::find(&ns, &name).and_then(|port| port.counters()) else {
                continue;
            };
            if counters.losses().is_ok() {
                all.push(counters);
            }
        }
    }
    Ok(all)
}

/// How many more frames were sent than have arrived.
fn missing(ports: &[Counters]) -> Result<i64> {
    ports.iter().try_fold(0, |sum, counters| {
        Ok(sum + counters.sent()? as i64 - counters.arrived()? as i64)
    })
}

/// How many frames were missing at the start: those sent to a port that is gone stay missing.
pub struct Rest(i64);

impl Rest {
    pub fn now() -> Result<Self> {
        Ok(Self(missing(&ports()?)?))
    }

    /// Waits until every frame on a wire has arrived and the polls that took them have handed them
    /// on: no more are missing, and nothing changes for a grace period, in which these polls have
    /// ended. If a poll has sent something itself, the counters have moved by then.
    pub fn wait(&self) -> Result<()> {
        wait_until("no frame is on the way", || {
            let before = ports()?;

            rcu::grace_period()?;
            let after = ports()?;
            let missing = missing(&after)?;
            let at_rest = before.len() == after.len()
                && after
                    .iter()
                    .zip(&before)
                    .all(|(now, old)| now.at_rest_since(old));
            Ok(at_rest && (missing == 0 || missing == self.0))
        })
    }
}
