// SPDX-License-Identifier: GPL-2.0

//! The result of a case, and the file with a line for each of them.

use anyhow::{Context, Result};
use regex::Regex;
use serde::Deserialize;
use std::{fmt, fs, path::Path};

/// The file, among the output of the tests.
pub const FILE: &str = "results";
const NOTHING: &str = "-";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Pass,
    Skip,
    Fail,
}

impl Outcome {
    pub const ALL: [Self; 3] = [Self::Pass, Self::Skip, Self::Fail];

    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Fail => "fail",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    Oxnic,
    Veth,
}

impl Device {
    pub const ALL: [Self; 2] = [Self::Oxnic, Self::Veth];

    pub fn name(self) -> &'static str {
        match self {
            Self::Oxnic => "oxnic",
            Self::Veth => "veth",
        }
    }
}

/// Whether a case ended as it has to. Only oxnic has anything to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    Expected,
    Unexpected,
    None,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Ok, Self::Expected, Self::Unexpected, Self::None];

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Expected => "expected",
            Self::Unexpected => "unexpected",
            Self::None => NOTHING,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub device: Device,
    pub run: u32,
    pub path: String,
    pub queues: u32,
    pub case: String,
    pub outcome: Outcome,
    pub verdict: Verdict,
    /// What the test says.
    pub detail: Option<String>,
    /// Why this was expected.
    pub reason: Option<String>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
            self.device.name(),
            self.run,
            self.path,
            self.queues,
            self.case,
            self.outcome.word(),
            self.verdict.word(),
            self.detail.as_deref().unwrap_or(NOTHING),
            self.reason.as_deref().unwrap_or(NOTHING),
        )
    }
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let device = by_name(fields.next()?, Device::ALL, Device::name)?;
        let run = fields.next()?.parse().ok()?;
        let path = fields.next()?.to_owned();
        let queues = fields.next()?.parse().ok()?;
        let case = fields.next()?.to_owned();
        let outcome = by_name(fields.next()?, Outcome::ALL, Outcome::word)?;
        let verdict = by_name(fields.next()?, Verdict::ALL, Verdict::word)?;
        let mut text = || {
            let field = fields.next()?;

            Some((field != NOTHING).then(|| field.to_owned()))
        };

        Some(Self {
            device,
            run,
            path,
            queues,
            case,
            outcome,
            verdict,
            detail: text()?,
            reason: text()?,
        })
    }
}

fn by_name<T: Copy, const N: usize>(
    name: &str,
    all: [T; N],
    of: fn(T) -> &'static str,
) -> Option<T> {
    all.into_iter().find(|one| of(*one) == name)
}

/// The results in a directory, in their order.
pub fn read(directory: &Path) -> Result<Vec<Line>> {
    let path = directory.join(FILE);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;

    text.lines()
        .map(|line| Line::parse(line).with_context(|| format!("{}: {line}", path.display())))
        .collect()
}

/// What a test says, in one line that can stand in a table, without the long random strings that
/// some tests send.
pub fn one_line(text: &str) -> String {
    let mut line = String::new();

    for c in text.chars() {
        let c = if matches!(c, '\t' | '\r' | '\n' | '|') {
            ' '
        } else {
            c
        };

        if c != ' ' || !line.ends_with(' ') {
            line.push(c);
        }
    }
    if line.ends_with(' ') {
        line.pop();
    }
    match Regex::new("[a-zA-Z]{40,}") {
        Ok(random) => random.replace_all(&line, "(...)").into_owned(),
        Err(_) => line,
    }
}

#[cfg(test)]
mod tests {
    use super::{one_line, Device, Line, Outcome, Verdict};

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = Line {
            device: Device::Oxnic,
            run: 2,
            path: "drivers/net/xdp.py".into(),
            queues: 4,
            case: "xdp.test_pass".into(),
            outcome: Outcome::Skip,
            verdict: Verdict::Expected,
            detail: Some("no such thing".into()),
            reason: None,
        };

        assert_eq!(Line::parse(&line.to_string()), Some(line));
        assert_eq!(Line::parse("oxnic\t1\tx"), None);
    }

    #[test]
    fn what_a_test_says() {
        assert_eq!(one_line("a\tb | c\r\n  d \n"), "a b c d");
        assert_eq!(
            one_line(&format!("got {} x", "aB".repeat(20))),
            "got (...) x"
        );
        assert_eq!(one_line(&"a".repeat(39)), "a".repeat(39));
    }
}
