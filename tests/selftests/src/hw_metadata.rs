// SPDX-License-Identifier: GPL-2.0

//! The file xdp_hw_metadata: what an XDP program and an AF_XDP socket get to know of a frame, and
//! what the port does with the metadata of the answer. It is meant to be read by a person: it runs
//! until Ctrl-C, and says what it found.

use crate::{
    ports::{self, LOCAL_V4},
    results::Outcome,
    run::Run,
};
use anyhow::{Context, Result};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Where the program diverts frames from.
const PORT: &str = "9091";
/// Frames to send: each is asked about, and answered.
const FRAMES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);

/// The name of the case, and how the line begins and goes on that it says once for each frame if
/// all is well. The time of arrival is said a second time, compared with that of the answer.
const SAYINGS: [(&str, &str, &str); 3] = [
    ("rx_hash", "rx_hash: 0x", ""),
    ("rx_timestamp", "HW RX-time: ", " delta to User RX-time "),
    ("tx_timestamp", "HW TX-complete-time: ", ""),
];

/// The arguments are "copy" and "zero-copy".
pub fn run(run: &mut Run<'_>) -> Result<()> {
    for mode in run.file.arguments.clone() {
        let said = PathBuf::from(format!("/tmp/xdp_hw_metadata.{mode}"));
        let answers = converse(run, &mode, &said);
        let text = fs::read_to_string(&said)?;

        writeln!(run.log, "-- {mode}\n{text}")?;
        judge(run, &mode, answers, &text)?;
    }
    Ok(())
}

/// Sends frames to the program, and returns how many answers came back.
fn converse(run: &Run<'_>, mode: &str, said: &Path) -> Result<usize> {
    let file = fs::File::create(said)?;
    let mut program = Command::new("stdbuf")
        .arg("--output=L")
        .arg(run.tests.join(&run.file.path))
        .args((mode == "copy").then_some("-c"))
        .arg(ports::near(run.device))
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .context("stdbuf")?;
    let answers = (|| {
        let mut answers = 0;

        wait_for(&mut program, said, "poll: ", 1)?;
        for n in 1..=FRAMES {
            answers += usize::from(answered()?);
            wait_for(&mut program, said, "complete tx", n)?;
        }
        Ok(answers)
    })();

    Command::new("kill")
        .args(["-INT", &program.id().to_string()])
        .status()?;
    program.wait()?;
    answers
}

/// Sends a datagram from the peer; whether its contents came back, with a checksum that is right.
fn answered() -> Result<bool> {
    let output = Command::new("ip")
        .args(["netns", "exec", ports::PEER, "sh", "-c"])
        .arg(format!("printf oxnic | nc -u -w 3 {LOCAL_V4} {PORT}"))
        .output()
        .context("ip")?;

    Ok(output.stdout == b"oxnic")
}

/// Waits until the program has said this so often.
fn wait_for(program: &mut Child, said: &Path, words: &str, count: usize) -> Result<()> {
    let end = Instant::now() + PATIENCE;

    loop {
        let text = fs::read_to_string(said)?;

        if text.matches(words).count() >= count {
            return Ok(());
        }
        if let Some(status) = program.try_wait()? {
            let last = text.lines().rfind(|line| !line.is_empty());

            anyhow::bail!("{status}: {}", last.unwrap_or_default());
        }
        if Instant::now() >= end {
            anyhow::bail!("has not said \"{words}\" {count} times");
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn judge(run: &mut Run<'_>, mode: &str, answers: Result<usize>, text: &str) -> Result<()> {
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) => {
            let case = format!("xdp_hw_metadata.{mode}");

            return run.result(&case, Outcome::Fail, &format!("{error:#}"));
        }
    };
    for (name, begin, rest) in SAYINGS {
        let said = text
            .lines()
            .filter(|line| line.starts_with(begin) && line.contains(rest));

        count(run, mode, name, said.count())?;
    }
    count(run, mode, "tx_checksum", answers)
}

fn count(run: &mut Run<'_>, mode: &str, name: &str, found: usize) -> Result<()> {
    let (outcome, says) = if found == FRAMES {
        (Outcome::Pass, String::new())
    } else {
        (Outcome::Fail, format!("of {found} of {FRAMES} frames"))
    };

    run.result(&format!("xdp_hw_metadata.{mode}.{name}"), outcome, &says)
}
