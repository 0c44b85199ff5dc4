// SPDX-License-Identifier: GPL-2.0

//! Ends a run in which a test hangs, with what the kernel knows about the blocked tasks.

use crate::host::{kmsg::Kmsg, PATIENCE};
use std::{
    fs, process,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

/// How long a test may show no progress: longer than any of its own waits, so that the test itself
/// reports what it waited for.
const LIMIT: Duration = PATIENCE.saturating_mul(2);

/// How often a test has reported progress.
static SIGNS_OF_LIFE: AtomicU64 = AtomicU64::new(0);

/// A test goes on: something that it waited for has happened, or it is one that takes long on
/// purpose.
pub fn still_alive() {
    SIGNS_OF_LIFE.fetch_add(1, Ordering::Relaxed);
}

/// Armed as long as it lives.
pub struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    pub fn arm(test: &str) -> Self {
        let (alive, dropped) = mpsc::channel::<()>();
        let test = test.to_owned();

        thread::spawn(move || {
            let mut last = SIGNS_OF_LIFE.load(Ordering::Relaxed);

            while let Err(RecvTimeoutError::Timeout) = dropped.recv_timeout(LIMIT) {
                let now = SIGNS_OF_LIFE.load(Ordering::Relaxed);

                if now == last {
                    give_up(&test);
                }
                last = now;
            }
        });
        Self { _alive: alive }
    }
}

/// A thread that hangs in the kernel cannot be ended, so the whole process goes.
fn give_up(test: &str) -> ! {
    let log = Kmsg::from_now();
    let _ = fs::write("/proc/sysrq-trigger", "w");

    eprintln!("{test}: hangs for {} s; its threads:", LIMIT.as_secs());
    for thread in fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let read = |file| fs::read_to_string(thread.path().join(file)).unwrap_or_default();

        eprintln!("  {}", read("comm").trim());
        for line in read("stack").lines() {
            eprintln!("    {line}");
        }
    }
    eprintln!("blocked tasks:");
    if let Ok(mut log) = log {
        for line in log.lines().unwrap_or_default() {
            eprintln!("    {}", line.text);
        }
    }
    process::exit(101);
}
