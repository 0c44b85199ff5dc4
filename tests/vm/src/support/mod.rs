// SPDX-License-Identifier: GPL-2.0

//! What the tests of several topics share: senders, programs, and queries of a port.

pub mod attach;
pub mod buffers;
pub mod changes;
pub mod held;
pub mod hwtstamp;
pub mod large;
pub mod ntuple;
pub mod observe;
pub mod polls;
pub mod ports;
pub mod probes;
pub mod qstats;
pub mod restart;
pub mod rss;
pub mod steer;
pub mod traffic;
pub mod verdict;
pub mod xsk;

use anyhow::{anyhow, Result};
use std::thread;

/// Runs every closure in a thread of its own and returns the first error.
pub fn in_parallel<T: Send>(
    jobs: impl IntoIterator<Item = impl FnOnce() -> Result<T> + Send>,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let threads: Vec<_> = jobs.into_iter().map(|job| scope.spawn(job)).collect();

        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .map_err(|_| anyhow!("a thread of the test panicked"))?
            })
            .collect()
    })
}
