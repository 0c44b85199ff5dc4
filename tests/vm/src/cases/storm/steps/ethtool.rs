// SPDX-License-Identifier: GPL-2.0

//! Rings, features, interrupts, flow control, and time stamps for sockets.

use crate::{
    cases::storm::{
        model::{Moderation, FEATURES, FLAGS, MAX_USECS},
        state::Storm,
    },
    host::{
        ensure_eq,
        hwtstamp::{rx_filter, tx_type, Config},
    },
};
use anyhow::Result;
use nix::errno::Errno;

/// `ethtool -L`: a queue in use cannot be removed.
pub fn channels(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let state = &storm.ports[n];
    let (model, max) = (&state.model, state.model.max_queues);
    let new = 1 + storm.random.below(max + 1);
    let mut refusal = Vec::new();

    if new > max {
        refusal.push("exceeds maximum");
    } else if new != model.queues {
        if model.queues_in_use().is_some_and(|used| used > new) {
            refusal.push("requested channel counts are too low for existing");
        }
        if state.sockets.keys().any(|queue| *queue >= new) {
            refusal.push("in use by AF_XDP");
        }
    }
    if storm.command(n, &refusal, &format!("ethtool -L DEV combined {new}"))? {
        storm.ports[n].model.queues = new;
    }
    Ok(())
}

/// `ethtool -G`.
pub fn ring_size(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let new = storm
        .random
        .pick(&[64, 64, 128, 256, 512, 1024, 2048, 4096, 32, 100, 8192]);
    let refusal: &[&str] = match new {
        32 | 100 => &["rx: must be a power of two from 64 to 4096"],
        8192 => &["exceeds maximum"],
        _ => &[],
    };

    set_ring(storm, n, refusal, new)
}

pub fn set_ring(storm: &mut Storm<'_>, n: usize, refusal: &[&str], new: u32) -> Result<()> {
    if storm.command(n, refusal, &format!("ethtool -G DEV rx {new}"))? {
        storm.ports[n].model.ring = new;
    }
    Ok(())
}

/// `ethtool -K`: switches one feature.
pub fn features(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let (feature, _) = storm.random.pick(&FEATURES);
    let model = &storm.ports[n].model;

    if model.can_switch(feature) {
        let new = if model.has(feature) { "off" } else { "on" };

        storm.command(n, &[], &format!("ethtool -K DEV {feature} {new}"))?;
        storm.ports[n].model.switch(feature);
    }
    Ok(())
}

/// `ethtool --set-priv-flags`: switches one flag. More often off than on, or no port would be as
/// usual.
pub fn private_flags(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let (flag, _) = storm.random.pick(&FLAGS);
    let is_on = storm.ports[n].model.has_flag(flag);

    if !is_on && storm.random.flip() {
        return Ok(());
    }
    let line = format!("ethtool --set-priv-flags DEV {flag} {}", on(!is_on));
    storm.command(n, &[], &line)?;
    storm.ports[n].model.switch_flag(flag);
    Ok(())
}

/// `ethtool -C`.
pub fn moderation(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let random = &mut storm.random;
    let new = Moderation {
        adaptive: random.flip(),
        usecs: random.pick(&[0, 1, 50, 500, MAX_USECS, MAX_USECS + 1]),
        frames: random.pick(&[0, 1, 32, 64, 512]),
    };

    set_moderation(storm, n, new)
}

pub fn set_moderation(storm: &mut Storm<'_>, n: usize, new: Moderation) -> Result<()> {
    let model = &storm.ports[n].model;
    let mut refusal = Vec::new();

    // If nothing changes, the kernel does not ask the driver.
    if new != model.moderation {
        if new.usecs > MAX_USECS {
            refusal.push("rx-usecs: at most 10000");
        } else if new.frames > model.ring {
            refusal.push("the size of the ring");
        }
    }
    let line = format!(
        "ethtool -C DEV adaptive-rx {} rx-usecs {} rx-frames {}",
        on(new.adaptive),
        new.usecs,
        new.frames
    );
    if storm.command(n, &refusal, &line)? {
        storm.ports[n].model.moderation = new;
    }
    Ok(())
}

/// `ethtool -A`.
pub fn pause(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let new = [storm.random.flip(), storm.random.flip()];

    set_pause(storm, n, new)
}

/// Sets flow control of the receive and the transmit direction.
pub fn set_pause(storm: &mut Storm<'_>, n: usize, [rx, tx]: [bool; 2]) -> Result<()> {
    storm.command(
        n,
        &[],
        &format!("ethtool -A DEV rx {} tx {}", on(rx), on(tx)),
    )?;
    storm.ports[n].model.pause = [rx, tx];
    Ok(())
}

/// `SIOCSHWTSTAMP`: any filter becomes the one for all frames, and one-step stamps are refused.
pub fn time_stamps(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let random = &mut storm.random;
    let wish = Config::new(
        random.pick(&[tx_type::OFF, tx_type::ON, tx_type::ONESTEP_SYNC]),
        random.pick(&[rx_filter::NONE, rx_filter::ALL, rx_filter::NTP_ALL]),
    );
    let expected = if wish.tx_type == tx_type::ONESTEP_SYNC {
        Err(Errno::ERANGE)
    } else {
        Ok(Config::new(
            wish.tx_type,
            wish.rx_filter.min(rx_filter::ALL),
        ))
    };

    storm.log(format!("SIOCSHWTSTAMP {wish:?}"));
    let state = &mut storm.ports[n];
    ensure_eq!(wish.try_set(&state.port)?, expected, "{wish:?}");
    if let Ok(config) = expected {
        state.model.stamps = config;
    }
    Ok(())
}

fn on(on: bool) -> &'static str {
    if on {
        "on"
    } else {
        "off"
    }
}
