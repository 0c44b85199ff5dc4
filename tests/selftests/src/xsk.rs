// SPDX-License-Identifier: GPL-2.0

//! The file xskxceiver: AF_XDP sockets on two ports that are joined, both in one namespace. It
//! speaks TAP as the tests in Python do, but in words of its own.

use crate::{ports, results::Outcome, run::Run};
use anyhow::{Context, Result};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

/// How often a case is run that was too slow to tell.
const ATTEMPTS: u32 = 3;
/// Pages of 2 MiB for the cases with unaligned buffers, which want their memory in one piece.
const HUGE_PAGES: u32 = 24;
const HUGE_PAGES_FILE: &str = "/proc/sys/vm/nr_hugepages";

pub fn run(run: &mut Run<'_>) -> Result<()> {
    fs::write(HUGE_PAGES_FILE, HUGE_PAGES.to_string()).context(HUGE_PAGES_FILE)?;
    let outcome = run_in_modes(run);
    fs::write(HUGE_PAGES_FILE, "0").context(HUGE_PAGES_FILE)?;

    outcome
}

/// The arguments are the modes; "busy-poll" among them applies to those behind it.
fn run_in_modes(run: &mut Run<'_>) -> Result<()> {
    let names = list(run)?;
    let mut options = Vec::new();

    for argument in run.file.arguments.clone() {
        if argument == "busy-poll" {
            ports::defer_interrupts(run.device)?;
            options.push("-b".to_owned());
            continue;
        }
        let mode = [&options[..], &["-m".to_owned(), argument]].concat();
        let mut slow = run_once(run, &mode)?;

        for _ in 1..ATTEMPTS {
            for name in std::mem::take(&mut slow) {
                let (_, short) = name.rsplit_once('.').context("a name without a mode")?;
                let number = names
                    .iter()
                    .position(|known| known == short)
                    .with_context(|| format!("{short} is not in its list"))?;

                println!("too slow to tell, once more: {name}");
                let one = [&mode[..], &["-t".to_owned(), number.to_string()]].concat();
                slow.extend(run_once(run, &one)?);
            }
        }
        for name in slow {
            run.result(
                &format!("xskxceiver.{name}"),
                Outcome::Fail,
                &format!("it took more than 3 seconds, in {ATTEMPTS} attempts"),
            )?;
        }
    }
    Ok(())
}

/// The names of the cases, in the order of their numbers.
fn list(run: &Run<'_>) -> Result<Vec<String>> {
    let output = Command::new(run.tests.join(&run.file.path))
        .arg("-l")
        .output()?;

    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(number, _)| number.chars().all(|c| c.is_ascii_digit()))
        .map(|(_, name)| name.to_owned())
        .collect())
}

/// Runs the file; returns the cases that may have been too slow.
fn run_once(run: &mut Run<'_>, options: &[String]) -> Result<Vec<String>> {
    ports::clean_up_together(run.device, &mut run.log)?;
    // Both outputs in one, in the order in which they are written.
    let mut child = Command::new("sh")
        .args([
            "-c",
            "exec timeout --kill-after=10 900 stdbuf --output=L \"$@\" 2>&1",
            "sh",
        ])
        .arg(run.tests.join(&run.file.path))
        .args(["-i", ports::near(run.device), "-i", ports::far(run.device)])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("no output")?;
    let mut parser = Parser::default();
    let mut slow = Vec::new();

    writeln!(run.log, "-- {}", options.join(" "))?;
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();

        writeln!(run.log, "{line}")?;
        let Some(case) = parser.line(&line) else {
            continue;
        };
        // It gives a receiver and a sender 3 seconds each for all of their frames.
        if case.outcome == Outcome::Fail && case.detail.ends_with("loop timed out") {
            slow.push(case.name);
        } else {
            run.result(
                &format!("xskxceiver.{}", case.name),
                case.outcome,
                &case.detail,
            )?;
        }
    }
    let status = child.wait()?;
    if let Some(wrong) = parser.end() {
        run.result(
            &format!("xskxceiver.{}", options.join(" ")),
            Outcome::Fail,
            &format!("{status} {wrong}"),
        )?;
    }
    Ok(slow)
}

#[derive(Debug, PartialEq, Eq)]
struct Case {
    /// With the mode in front.
    name: String,
    outcome: Outcome,
    detail: String,
}

#[derive(Default)]
struct Parser {
    planned: Option<u32>,
    seen: u32,
    /// What was said last, as a comment.
    said: String,
    last: String,
}

impl Parser {
    /// Returns the case that the line ends: "ok 1 PASS: SKB SEND_RECEIVE".
    fn line(&mut self, line: &str) -> Option<Case> {
        if let Some(planned) = line.strip_prefix("1..") {
            self.planned = planned.parse().ok();
            return None;
        }
        let words = [" PASS: ", " SKIP: ", " FAIL: "];
        let found = words.iter().find_map(|word| line.split_once(word));
        let Some((_, name)) = found.filter(|_| line.starts_with("ok ") || line.starts_with("not "))
        else {
            if let Some(said) = line.strip_prefix("# ") {
                self.said = said.trim().to_owned();
            }
            if !line.trim().is_empty() {
                self.last = line.to_owned();
            }
            return None;
        };
        let outcome = if line.starts_with("not ") {
            Outcome::Fail
        } else if line.contains(" SKIP") {
            Outcome::Skip
        } else {
            Outcome::Pass
        };
        let said = std::mem::take(&mut self.said);

        self.seen += 1;
        Some(Case {
            name: name.trim().replace(' ', "."),
            outcome,
            detail: if outcome == Outcome::Pass {
                String::new()
            } else {
                said
            },
        })
    }

    /// What is wrong with the output as a whole, after its end.
    fn end(&self) -> Option<String> {
        (self.planned != Some(self.seen)).then(|| {
            format!(
                "after {} of {} cases: {}",
                self.seen,
                self.planned.map_or("its".to_owned(), |n| n.to_string()),
                self.last
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Case, Outcome, Parser};

    #[test]
    fn results() {
        let mut parser = Parser::default();
        let cases: Vec<_> =
            "1..4\nok 1 PASS: SKB BUSY-POLL SEND_RECEIVE\n# No huge pages present.\n\
             ok 2 # SKIP SKIP: SKB UNALIGNED\n# a\n# ERROR: [x] Receive loop timed out\n\
             not ok 3 FAIL: DRV POLL\n"
                .lines()
                .filter_map(|line| parser.line(line))
                .collect();
        let case = |name: &str, outcome, detail: &str| Case {
            name: name.to_owned(),
            outcome,
            detail: detail.to_owned(),
        };

        assert_eq!(
            cases,
            [
                case("SKB.BUSY-POLL.SEND_RECEIVE", Outcome::Pass, ""),
                case("SKB.UNALIGNED", Outcome::Skip, "No huge pages present."),
                case(
                    "DRV.POLL",
                    Outcome::Fail,
                    "ERROR: [x] Receive loop timed out"
                ),
            ]
        );
        assert_eq!(
            parser.end().as_deref(),
            Some("after 3 of 4 cases: # ERROR: [x] Receive loop timed out")
        );
    }

    #[test]
    fn an_output_without_cases() {
        let mut parser = Parser::default();

        assert_eq!(parser.line("Segmentation fault"), None);
        assert_eq!(
            parser.end().as_deref(),
            Some("after 0 of its cases: Segmentation fault")
        );
    }
}
