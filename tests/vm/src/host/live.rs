// SPDX-License-Identifier: GPL-2.0

//! Frames that the kernel makes itself and runs a program on, the program's verdict and all
//! (`BPF_PROG_TEST_RUN` with `BPF_F_TEST_XDP_LIVE_FRAMES`).

#![allow(unsafe_code)]

use anyhow::{Context, Result};
use nix::{errno::Errno, libc};
use std::os::fd::{AsRawFd, BorrowedFd};

const BPF_PROG_TEST_RUN: libc::c_int = 10;
const LIVE_FRAMES: u32 = 1 << 1;

/// That part of `union bpf_attr` which belongs to the command.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// Runs a program of the calling thread's namespace on `count` copies of a frame.
pub fn run(program: BorrowedFd<'_>, frame: &[u8], count: u32) -> Result<()> {
    let mut request = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat: count,
        flags: LIVE_FRAMES,
        ..TestRun::default()
    };
    // SAFETY: The kernel reads the request and the frame, and writes results to the request, which
    // has the length that is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut request,
            size_of::<TestRun>(),
        )
    };

    Errno::result(result)
        .map(drop)
        .context("running a program on live frames")
}
