// SPDX-License-Identifier: GPL-2.0

//! What all samples need and none is about: an interface by its name, the file with the BPF
//! programs, Ctrl-C, and errors told in one line.

#![forbid(unsafe_code)]

pub mod bpf;
pub mod interface;
pub mod protocols;
pub mod stop;

use anyhow::Error;
use nix::errno::Errno;
use std::{
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

/// Runs a sample. An error is told in one line, `NAME: what failed: why`, and makes the exit status
/// 1; only the verifier's log comes before that line.
pub fn run(name: &str, sample: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    let Err(error) = sample() else {
        return ExitCode::SUCCESS;
    };

    // Whoever read the output wants no more of it: `xdp_attach ox0 | head`.
    if has_cause(&error, |io| io.kind() == ErrorKind::BrokenPipe) {
        return ExitCode::FAILURE;
    }
    if let Some(refused) = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<bpf::Refused>())
    {
        complain(refused.log.trim_end());
    }
    complain(&format!("{name}: {}", in_one_line(&error)));
    ExitCode::FAILURE
}

/// Prints a line as `println!` does, but a failure is an error, not a panic: the sample then still
/// cleans up.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;

        writeln!(std::io::stdout(), $($text)*).map_err(::anyhow::Error::from)
    }};
}

/// Where standard error is closed there is nobody to complain to.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn in_one_line(error: &Error) -> String {
    let mut line = String::new();

    for cause in error.chain().map(ToString::to_string) {
        // Some libraries repeat the cause in their own text.
        if line.ends_with(&cause) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&cause.replace('\n', " "));
    }
    if is_forbidden(error) {
        line.push_str(": needs root (CAP_NET_ADMIN, CAP_BPF)");
    }
    line
}

/// Whether the kernel refused for want of a privilege. Of a pinned map it says so as of a file, with
/// `EACCES`.
fn is_forbidden(error: &Error) -> bool {
    [Errno::EPERM, Errno::EACCES].into_iter().any(|errno| {
        error
            .chain()
            .any(|cause| cause.downcast_ref() == Some(&errno))
            || has_cause(error, |io| io.raw_os_error() == Some(errno as i32))
    })
}

fn has_cause(error: &Error, is: impl Fn(&io::Error) -> bool) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(is)
}
