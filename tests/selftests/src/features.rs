// SPDX-License-Identifier: GPL-2.0

//! The file xdp_features: what a port announces, compared with what it does.

use crate::{
    ports::{self, LOCAL_V6, REMOTE_V6},
    results::{Device, Outcome},
    run::Run,
};
use anyhow::{Context, Result};
use std::{
    io::Write,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

const FEATURES: [&str; 6] = [
    "XDP_PASS",
    "XDP_DROP",
    "XDP_ABORTED",
    "XDP_TX",
    "XDP_REDIRECT",
    "XDP_NDO_XMIT",
];
/// The TCP port where the port under test is asked.
const CONTROL: &str = "sport = :12345";

pub fn run(run: &mut Run<'_>) -> Result<()> {
    if run.device == Device::Veth {
        // As the kernel's script for it does: GRO gives veth its NAPI, and XDP_TX and redirect want
        // whole checksums.
        for command in [
            "ethtool -K ve0 gro on tx-checksumming off",
            "ip netns exec peer ethtool -K ve1 gro on tx-checksumming off",
        ] {
            let _ = ports::run(command, &mut run.log);
        }
    }
    for feature in FEATURES {
        let said = compare(run, feature)?;
        let (outcome, detail) = judge(&said).unwrap_or((Outcome::Fail, "no verdict"));

        run.result(&format!("xdp_features.{feature}"), outcome, detail)?;
    }
    Ok(())
}

/// The port under test runs the program in question, and its peer sends to it and looks at what
/// comes back. Returns the line with the verdict.
fn compare(run: &mut Run<'_>, feature: &str) -> Result<String> {
    let program = run.tests.join(&run.file.path);
    let arguments = ["-f", feature, "-D", LOCAL_V6, "-T", REMOTE_V6];

    writeln!(run.log, "-- {feature}")?;
    let mut tested = Command::new("timeout")
        .arg("60")
        .arg(&program)
        .args(arguments)
        .arg(ports::near(run.device))
        .stdin(Stdio::null())
        .stdout(run.log.try_clone()?)
        .stderr(run.log.try_clone()?)
        .spawn()
        .context("timeout")?;

    wait_for_listener();
    let output = Command::new("ip")
        .args(["netns", "exec", ports::PEER, "timeout", "45"])
        .arg(&program)
        .arg("-t")
        .args(arguments)
        .args(["-C", LOCAL_V6, ports::far(run.device)])
        .output()
        .context("ip")?;
    let said = without_colours(&String::from_utf8_lossy(
        &[output.stdout, output.stderr].concat(),
    ));

    run.log.write_all(said.as_bytes())?;
    let _ = Command::new("kill").arg(tested.id().to_string()).status();
    tested.wait()?;
    Ok(said
        .lines()
        .filter(|line| line.starts_with("Feature "))
        .last()
        .unwrap_or_default()
        .to_owned())
}

fn judge(said: &str) -> Option<(Outcome, &'static str)> {
    [
        (
            "[NOT DETECTED][NOT ADVERTISED]",
            Outcome::Pass,
            "neither detected nor advertised",
        ),
        (
            "[DETECTED][NOT ADVERTISED]",
            Outcome::Fail,
            "detected, but not advertised",
        ),
        (
            "[NOT DETECTED][ADVERTISED]",
            Outcome::Fail,
            "advertised, but not detected",
        ),
        (
            "[DETECTED][ADVERTISED]",
            Outcome::Pass,
            "detected and advertised",
        ),
    ]
    .into_iter()
    .find(|(end, ..)| said.ends_with(end))
    .map(|(_, outcome, detail)| (outcome, detail))
}

/// For 10 seconds at most.
fn wait_for_listener() {
    for _ in 0..100 {
        let listens = Command::new("ss")
            .args(["--no-header", "--tcp", "--listening", CONTROL])
            .output()
            .is_ok_and(|output| !output.stdout.is_empty());

        if listens {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Text without the sequences that make a terminal change its colour: ESC [ numbers m.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();

    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');

        plain += rest.strip_prefix('m').unwrap_or(part);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{judge, without_colours};
    use crate::results::Outcome;

    #[test]
    fn verdicts() {
        let outcome = |said| judge(said).map(|(outcome, _)| outcome);

        assert_eq!(
            outcome("Feature XDP_TX: [DETECTED][ADVERTISED]"),
            Some(Outcome::Pass)
        );
        assert_eq!(
            outcome("Feature XDP_TX: [NOT DETECTED][NOT ADVERTISED]"),
            Some(Outcome::Pass)
        );
        assert_eq!(
            outcome("Feature XDP_TX: [DETECTED][NOT ADVERTISED]"),
            Some(Outcome::Fail)
        );
        assert_eq!(
            outcome("Feature XDP_TX: [NOT DETECTED][ADVERTISED]"),
            Some(Outcome::Fail)
        );
        assert_eq!(outcome(""), None);
    }

    #[test]
    fn colours() {
        assert_eq!(without_colours("a\x1b[31;1mb\x1b[0m c"), "ab c");
    }
}
