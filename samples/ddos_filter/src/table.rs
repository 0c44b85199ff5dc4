// SPDX-License-Identifier: GPL-2.0

//! The statistics as text: a table, on a terminal one that is drawn anew in its place, or a line.

use crate::filter::{Count, Rule, Statistics};
use anyhow::Result;
use comfy_table::{presets::NOTHING, Cell, CellAlignment, Row, Table};
use crossterm::{
    cursor::{Hide, MoveTo, Show},
    queue,
    terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen},
};
use oxnic_samples::interface::Interface;
use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// Lines of the screen that are no rules.
const OTHER_LINES: usize = 16;

/// The statistics of now, and what is needed to say how fast they grow.
pub struct Sample {
    now: Statistics,
    before: Option<(Statistics, Duration)>,
}

/// Makes samples, each with the one before it.
pub struct Sampler {
    last: Option<(Statistics, Instant)>,
}

impl Sampler {
    pub fn new() -> Self {
        Self { last: None }
    }

    pub fn next(&mut self, now: Statistics) -> Sample {
        let time = Instant::now();
        let last = self.last.replace((now.clone(), time));

        Sample {
            now,
            before: last.map(|(before, at)| (before, time - at)),
        }
    }
}

impl Sample {
    /// How many packets came each second since the sample before; none without one.
    fn rate(&self, now: Count, before: impl Fn(&Statistics) -> Option<Count>) -> Option<u64> {
        let (statistics, time) = self.before.as_ref()?;
        // A rule that is new began with nothing.
        let new = now.packets - before(statistics).map_or(0, |before| before.packets);

        Some((new as f64 / time.as_secs_f64()).round() as u64)
    }

    fn rule_rate(&self, rule: &Rule) -> Option<u64> {
        self.rate(rule.count, |before| {
            before
                .rules
                .iter()
                .find(|other| other.is_earlier(rule))
                .map(|other| other.count)
        })
    }

    /// All in one line, for a file or a pipe.
    pub fn line(&self) -> String {
        let part = |what, now: Count, before: fn(&Statistics) -> Count| {
            let rate = self.rate(now, |statistics| Some(before(statistics)));

            match rate {
                Some(rate) => format!("{what} {} ({rate}/s)", now.packets),
                None => format!("{what} {}", now.packets),
            }
        };

        format!(
            "{}, {}, {}",
            part("passed", self.now.passed, |of| of.passed),
            part("blocked", self.now.blocked, |of| of.blocked),
            part("limited", self.now.limited, |of| of.limited),
        )
    }

    /// All as a table, with at most so many rules.
    pub fn table(&self, max_rules: usize) -> String {
        let now = &self.now;
        let mut table = Table::new();

        table
            .load_preset(NOTHING)
            .set_header(["from", "what", "packets", "bytes", "packets/s"]);
        for rule in now.rules.iter().take(max_rules) {
            table.add_row(row(
                &rule.prefix.to_string(),
                rule.what(),
                rule.count,
                self.rule_rate(rule),
            ));
        }
        if let Some(more @ 1..) = now.rules.len().checked_sub(max_rules) {
            table.add_row([format!("({more} more rules)")]);
        }
        let limited = match now.limit.rate {
            0 => "no limit".to_owned(),
            rate => format!("over {rate}/s"),
        };
        for (from, what, count, before) in [
            (
                "any other source",
                limited.as_str(),
                now.limited,
                (|of| of.limited) as fn(&Statistics) -> Count,
            ),
            ("all", "blocked", now.blocked, |of| of.blocked),
            ("all", "passed", now.passed, |of| of.passed),
        ] {
            let rate = self.rate(count, |of| Some(before(of)));

            table.add_row(row(from, what, count, rate));
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut text = table.trim_fmt();

        if !now.sources.is_empty() {
            text.push_str("\n\n most of what was over the limit came from");
            for (address, dropped) in &now.sources {
                let of = if address.is_ipv6() { "/64" } else { "" };

                text.push_str(&format!("\n   {address}{of}: {dropped}"));
            }
        }
        text
    }
}

fn row(from: &str, what: &str, count: Count, rate: Option<u64>) -> Row {
    let rate = rate.map_or_else(String::new, |rate| rate.to_string());

    Row::from([
        Cell::new(from),
        Cell::new(what),
        Cell::new(count.packets),
        Cell::new(count.bytes),
        Cell::new(rate),
    ])
}

/// Where statistics are shown while the filter runs.
pub enum Display {
    /// A screen of its own, put away when this is dropped.
    Screen,
    /// A line each time.
    Lines,
}

impl Display {
    pub fn open() -> Result<Self> {
        let mut out = io::stdout();

        if !out.is_terminal() {
            return Ok(Self::Lines);
        }
        // First, so that what follows is undone even if it fails half way.
        let display = Self::Screen;

        queue!(out, EnterAlternateScreen, Hide)?;
        out.flush()?;
        Ok(display)
    }

    pub fn show(&self, interface: &Interface, seconds: u64, sample: &Sample) -> Result<()> {
        let mut out = io::stdout().lock();

        match self {
            Self::Lines => writeln!(out, "{seconds} s: {}", sample.line())?,
            Self::Screen => {
                let lines = terminal::size().map_or(usize::MAX, |(_, lines)| lines.into());
                let table = sample.table(lines.saturating_sub(OTHER_LINES).max(1));

                queue!(out, MoveTo(0, 0))?;
                write_screen_line(
                    &mut out,
                    &format!(" ddos_filter at {interface}, {seconds} s; Ctrl-C stops it"),
                )?;
                for line in table.lines() {
                    write_screen_line(&mut out, line)?;
                }
                queue!(out, Clear(ClearType::FromCursorDown))?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if matches!(self, Self::Screen) {
            let mut out = io::stdout();

            // If the terminal is gone there is nothing to put away.
            let _ = queue!(out, LeaveAlternateScreen, Show);
            let _ = out.flush();
        }
    }
}

/// A line that takes the place of what was there, without a flicker.
fn write_screen_line(out: &mut impl Write, line: &str) -> Result<()> {
    write!(out, "{line}")?;
    queue!(out, Clear(ClearType::UntilNewLine))?;
    Ok(write!(out, "\r\n")?)
}

#[cfg(test)]
mod tests {
    use super::Sample;
    use crate::filter::{Count, Limit, Statistics};
    use std::time::Duration;

    fn statistics(passed: u64, blocked: u64) -> Statistics {
        let count = |packets| Count {
            packets,
            bytes: packets * 60,
        };

        Statistics {
            rules: Vec::new(),
            passed: count(passed),
            blocked: count(blocked),
            limited: count(0),
            limit: Limit { rate: 0, burst: 1 },
            sources: Vec::new(),
        }
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let sample = Sample {
            now: statistics(30, 1000),
            before: Some((statistics(10, 0), Duration::from_secs(2))),
        };

        assert_eq!(
            sample.line(),
            "passed 30 (10/s), blocked 1000 (500/s), limited 0 (0/s)"
        );
    }
}
