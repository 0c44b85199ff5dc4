// SPDX-License-Identifier: GPL-2.0

//! The tests in Python, which speak TAP.

use crate::{
    ports,
    results::Outcome,
    run::Run,
    tap::{Case, Parser},
};
use anyhow::{Context, Result};
use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

/// Where the shim of socat notes when a receiver starts and when a sender is done.
const TIMES: &str = "/run/socat.times";
/// How often a case is run that was too slow to tell.
const ATTEMPTS: u32 = 3;

/// A receiver of these tests gives up after 2 seconds, so a case also fails if the machine does not
/// get round to sending in this time; that is measured. And they give iperf3 20 seconds to end its
/// 16 streams, for which an emulated CPU takes 10 if it has nothing else to do, on veth as on
/// oxnic. Such a case, and only such a one, is run again.
pub fn run(run: &mut Run<'_>) -> Result<()> {
    let mut slow = run_file(run, &run.file.arguments.clone())?;

    for _ in 1..ATTEMPTS {
        if slow.is_empty() {
            break;
        }
        println!("these were too slow to tell, once more: {}", slow.join(" "));
        let arguments: Vec<_> = slow
            .iter()
            .map(|name| name.split_once('.').map_or(name.as_str(), |(_, case)| case))
            .flat_map(|case| ["-t".to_owned(), case.to_owned()])
            .collect();

        slow = run_file(run, &arguments)?;
    }
    for name in slow {
        run.result(
            &name,
            Outcome::Fail,
            &format!("the machine is too slow for it, in {ATTEMPTS} attempts"),
        )?;
    }
    Ok(())
}

/// Runs the file; returns the cases that were too slow.
fn run_file(run: &mut Run<'_>, arguments: &[String]) -> Result<Vec<String>> {
    let path = run.tests.join(&run.file.path);
    let directory = path.parent().context("a file without a directory")?;
    let name = path.file_name().context("a file without a name")?;
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = env::join_paths(
        [run.shims.clone()]
            .into_iter()
            .chain(env::split_paths(&path)),
    )?;
    let mut parser = Parser::default();
    let mut slow = Vec::new();

    clear_times()?;
    // Both outputs in one, in the order in which they are written.
    let mut child = Command::new("sh")
        .args([
            "-c",
            "exec timeout --kill-after=10 1800 python3 \"$@\" 2>&1",
            "sh",
        ])
        .arg(name)
        .args(arguments)
        .current_dir(directory)
        .env("PATH", paths)
        .env("NETIF", ports::near(run.device))
        .env("LOCAL_V4", ports::LOCAL_V4)
        .env("REMOTE_V4", ports::REMOTE_V4)
        .env("LOCAL_V6", ports::LOCAL_V6)
        .env("REMOTE_V6", ports::REMOTE_V6)
        .env("REMOTE_TYPE", "netns")
        .env("REMOTE_ARGS", ports::PEER)
        // The tree is read-only.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("no output")?;

    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();

        writeln!(run.log, "{line}")?;
        let Some(Case {
            name,
            outcome,
            detail,
            said,
            went_wrong,
        }) = parser.line(&line)
        else {
            continue;
        };

        if went_wrong && was_too_slow(&said)? {
            slow.push(name);
        } else {
            run.result(&name, outcome, &detail)?;
        }
        clear_times()?;
    }
    let status = child.wait()?.code().unwrap_or(-1);

    if let Some(wrong) = parser.end(status) {
        let stem = run.file.stem().to_owned();

        run.result(&stem, Outcome::Fail, &wrong)?;
    }
    Ok(slow)
}

fn clear_times() -> Result<()> {
    fs::write(TIMES, "").context(TIMES)
}

/// Whether a receiver may have given up before its sender had sent, or iperf3 did not end in time.
fn was_too_slow(said: &str) -> Result<bool> {
    let iperf3 = said.starts_with("TimeoutExpired: ")
        && said.contains("iperf3")
        && said.ends_with(" timed out after 20 seconds");

    Ok(iperf3 || sent_late(&fs::read_to_string(Path::new(TIMES))?))
}

/// Whether a sender was done more than 1.5 seconds after a receiver had started.
fn sent_late(times: &str) -> bool {
    let mut started: Option<f64> = None;

    times
        .lines()
        .filter_map(|line| line.split_once(' '))
        .any(|(time, what)| {
            let Ok(time) = time.parse::<f64>() else {
                return false;
            };

            match what {
                "receive" => started = Some(time),
                "sent" => return started.is_some_and(|started| time - started > 1.5),
                _ => (),
            }
            false
        })
}

#[cfg(test)]
mod tests {
    use super::{sent_late, was_too_slow};

    #[test]
    fn late_senders() {
        assert!(sent_late("10.0 receive\n11.6 sent\n"));
        assert!(sent_late("1.0 receive\n1.1 sent\n5.0 receive\n9.0 sent\n"));
        assert!(!sent_late("10.0 receive\n11.4 sent\n"));
        assert!(!sent_late("10.0 sent\n11.0 receive\n"));
        assert!(!sent_late(""));
    }

    #[test]
    fn a_slow_iperf3() {
        let said = "TimeoutExpired: Command 'iperf3 -c x' timed out after 20 seconds";

        assert!(was_too_slow(said).unwrap());
    }
}
