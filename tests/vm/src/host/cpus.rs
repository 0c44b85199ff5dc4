// SPDX-License-Identifier: GPL-2.0

//! The machine's CPUs.

use anyhow::{anyhow, Context, Result};
use nix::{
    sched::{sched_getaffinity, sched_getcpu, sched_setaffinity, CpuSet},
    unistd::Pid,
};
use std::{fs, net::UdpSocket, thread};

/// Makes every CPU receive something.
///
/// Whoever frees an skb on another CPU than the one that allocated it leaves that to the latter,
/// which gets round to it when it next receives (`skb_attempt_defer_free`). Where no more traffic
/// is to come, a few skbs and their pages would be kept for ever.
pub fn free_deferred_skbs() -> Result<()> {
    all()?
        .into_iter()
        .try_for_each(|cpu| run_on(cpu, receive_one))
}

/// The CPUs that this process may use.
pub fn all() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;

    Ok((0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect())
}

/// How long a CPU has had nothing to do since the machine was started, in hundredths of a second.
pub fn idle(cpu: usize) -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;

    // User, nice, system, idle.
    stat.lines()
        .find_map(|line| line.strip_prefix(&format!("cpu{cpu} ")))
        .and_then(|times| times.split_whitespace().nth(3))
        .with_context(|| format!("no processor {cpu} in /proc/stat"))?
        .parse()
        .context("the idle time of a processor")
}

/// Runs `work` in a thread that stays on one CPU.
pub fn run_on<T: Send>(cpu: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                keep_on(0, cpu)?;
                work()
            })
            .join()
            .map_err(|_| anyhow!("a thread on processor {cpu} panicked"))?
    })
}

/// Runs `work` in the calling thread, which does not leave its CPU meanwhile.
pub fn stay<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let this = Pid::from_raw(0);
    let before = sched_getaffinity(this)?;

    keep_on(0, sched_getcpu()?)?;
    let done = work();
    sched_setaffinity(this, &before).context("letting a thread leave its processor")?;
    done
}

/// Keeps a thread, or with 0 the calling one, on one CPU.
pub fn keep_on(thread: u64, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();

    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(thread as i32), &set)
        .with_context(|| format!("moving thread {thread} to processor {cpu}"))
}

/// What goes to the loopback device is received by the CPU that sends it.
fn receive_one() -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(&[0], socket.local_addr()?)?;
    socket.recv(&mut [0])?;
    Ok(())
}
