// SPDX-License-Identifier: GPL-2.0

//! The machine the tests run on: its commands, kernel log, modules, namespaces and tracing.

pub mod bpffs;
pub mod clock;
pub mod cmd;
pub mod cpus;
pub mod epoll;
pub mod ethtool;
pub mod fault;
pub mod hwtstamp;
pub mod instruments;
pub mod kmsg;
pub mod live;
pub mod module;
pub mod netdevsim;
pub mod netns;
pub mod pktgen;
pub mod process;
pub mod rcu;
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

/// How long the tests wait for what must happen before they take it for a hang: the only limit of
/// time that they have. It is longer than anything that works takes, with all instruments of the
/// debug kernel on an emulated machine that is busy with other things, so no test depends on how
/// fast a machine is.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// In nanoseconds: what the kernel delays for so long does not happen while a test runs.
pub const FOR_EVER: u64 = 24 * 3600 * 1_000_000_000;

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
            bail!("timed out after {} s: {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    watchdog::still_alive();
    Ok(())
}

/// Does `round` again and again, until `met` says that chance has brought about what the test is
/// for.
pub fn repeat_until(
    what: &str,
    mut round: impl FnMut() -> Result<()>,
    mut met: impl FnMut() -> Result<bool>,
) -> Result<()> {
    wait_until(what, || {
        round()?;
        watchdog::still_alive();
        met()
    })
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
