// SPDX-License-Identifier: GPL-2.0

//! Which frames a port takes time stamps of for sockets: as text, and in effect.

use crate::{
    bed::{Bed, Port},
    host::{clock::tai, hwtstamp::Config, wait_until},
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
        stamps,
    },
};
use anyhow::{ensure, Context, Result};

/// What the log says to a wish that the port does not grant.
pub const ONE_STEP_REFUSED: &str = "one-step time stamps not supported";

/// A flow of its own.
const FLOW: u32 = 0x7a1;

/// `tx_type` and `rx_filter` of a port.
pub fn text(port: &Port) -> Result<String> {
    let Config {
        tx_type, rx_filter, ..
    } = Config::of(port)?;

    Ok(format!("{tx_type} {rx_filter}"))
}

/// Sets what [`text`] shows.
pub fn set_text(port: &Port, text: &str) -> Result<()> {
    let (tx_type, rx_filter) = text.split_once(' ').context("two numbers")?;

    Config::new(tx_type.parse()?, rx_filter.parse()?)
        .set(port)
        .map(drop)
}

/// Checks that frames that port B sends and receives have stamps, if it shows this.
pub fn check(bed: &Bed, text: &str) -> Result<()> {
    let sends = text.starts_with('1');
    let receives = text.ends_with('1');
    let from = tai()?;

    let sender = Sender::open(&bed.b)?;
    stamps::request(&sender, stamps::TX.union(stamps::TX_SOFTWARE))?;
    sender.send(&Probe::new(FLOW, 0).frame())?;
    let stamp = stamps::only_sent(&sender)?;
    let to = tai()?;
    if sends {
        stamp.expect_between("a frame that B sends", from, to)?;
    } else {
        ensure!(stamp.hardware == 0, "a frame that B sends: {stamp:?}");
    }
    ensure!(
        (stamp.software == 0) == sends,
        "a frame that B sends has stamps of both clocks or of none: {stamp:?}"
    );

    let tap = Tap::open(&bed.b)?;
    let probe = Probe::new(FLOW, 1);
    stamps::request(&tap, stamps::RX.union(stamps::RX_SOFTWARE))?;
    Sender::open(&bed.a)?.send(&probe.frame())?;
    wait_until("the frame arrives", || {
        let found = stamps::received(&tap)?;
        if Probe::parse(&found.data)?.as_ref() != Some(&probe) {
            return Ok(false);
        }
        if receives {
            found.expect_between("a frame that B receives", to, tai()?)?;
        } else {
            ensure!(found.hardware == 0, "a frame that B receives: {found:?}");
        }
        Ok(true)
    })
}
