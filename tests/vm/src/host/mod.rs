// SPDX-License-Identifier: GPL-2.0

//! The machine the tests run on: its commands, kernel log, modules, namespaces and tracing.

pub mod bpffs;
pub mod clock;
pub mod cmd;
pub mod cpus;
pub mod epoll;
pub mod ethtool;
pub mod fault;
pub mod instruments;
pub mod kmsg;
pub mod live;
pub mod module;
pub mod netdevsim;
pub mod netns;
pub mod pktgen;
pub mod process;
pub mod tracefs;
pub mod usage;
pub mod watchdog;

use anyhow::{bail, Context, Result};
use std::{
    env,
    error::Error,
    str::FromStr,
    time::{Duration, Instant},
};

/// How long the tests wait for what must happen. An emulated machine is slow and nothing is
/// measured, so this only has to be longer than anything that works takes.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// A number from the environment.
pub fn setting<T: FromStr>(name: &str, default: T) -> Result<T>
where
    T::Err: Error + Send + Sync + 'static,
{
    match env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}

/// Polls `done` until it says yes, and fails with `what` if that takes longer than [`PATIENCE`].
pub fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;

    while !done()? {
        if Instant::now() > end {
            bail!("waited {} s in vain: {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Fails with what was expected and what was found unless both are equal.
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($what:tt)+) => {{
        let (found, expected) = (&$found, &$expected);
        if found != expected {
            anyhow::bail!("{}: expected {expected:?}, found {found:?}", format_args!($($what)+));
        }
    }};
}
pub(crate) use ensure_eq;
