// SPDX-License-Identifier: GPL-2.0

//! What the kernel's tests in Python print: the Test Anything Protocol, with comments that say what
//! went wrong.

use crate::results::Outcome;

/// A case that has ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Case {
    pub name: String,
    pub outcome: Outcome,
    pub detail: String,
    /// What the test has said before, and whether anything went wrong: it may have been only slow.
    pub said: String,
    pub went_wrong: bool,
}

/// Reads the output of a file line by line.
#[derive(Default)]
pub struct Parser {
    planned: Option<String>,
    seen: u32,
    /// The last line that is none of the protocol's.
    last: String,
    /// Of the current case: a size that failed, whether larger sizes were left out, what was said.
    failed: Option<String>,
    cut: bool,
    said: String,
}

const ONLY_IN_PART: &str =
    "only in part: for want of an HDS threshold, the test takes frames over \
    1500 bytes for split after their headers, and leaves the larger sizes out";

impl Parser {
    /// Returns the case that the line ends.
    pub fn line(&mut self, line: &str) -> Option<Case> {
        if let Some(planned) = line.strip_prefix("1..") {
            self.planned = Some(planned.to_owned());
        } else if line.starts_with("ok ") || line.starts_with("not ok ") {
            self.seen += 1;
            return Some(self.end_case(line));
        } else if let Some(what) = line.strip_prefix("# Failed run: ") {
            if what.contains("HDS threshold") {
                self.cut = true;
            } else {
                self.failed = Some(format!("Failed run: {what}"));
            }
        } else if line.starts_with("# Check failed ") {
            self.say(line.trim_start_matches("# "));
        } else if let Some(printed) = line.strip_prefix("# Exception|   STDERR: ") {
            // Of a command that failed, what it printed tells most.
            self.said = printed.to_owned();
        } else if line.starts_with("# Exception| Traceback") {
            self.said.clear();
        } else if let Some(error) = exception(line) {
            self.say(error);
        } else if line.contains(|c| c != ' ') {
            self.last = line.to_owned();
        }
        None
    }

    /// What is wrong with the output as a whole, after its end.
    pub fn end(&self, status: i32) -> Option<String> {
        let seen = self.seen.to_string();

        (self.seen == 0 || self.planned.as_ref() != Some(&seen)).then(|| {
            format!(
                "ended with status {status} after {seen} of {} cases: {}",
                self.planned
                    .as_deref()
                    .filter(|text| !text.is_empty())
                    .unwrap_or("its"),
                self.last
            )
        })
    }

    fn say(&mut self, what: &str) {
        if self.said.is_empty() {
            self.said = what.to_owned();
        }
    }

    /// A line such as "ok 3 xdp.test_xdp_native_pass_mb.ipv4 # SKIP reason".
    fn end_case(&mut self, line: &str) -> Case {
        let failed = self.failed.take();
        let cut = std::mem::take(&mut self.cut);
        let said = std::mem::take(&mut self.said);
        let went_wrong = line.starts_with("not ") || failed.is_some();
        let comment = ["# SKIP", "# XFAIL"]
            .iter()
            .filter_map(|word| line.rsplit_once(&format!(" {word}")))
            .map(|(_, comment)| comment.strip_prefix(' ').unwrap_or(comment).to_owned())
            .next()
            .unwrap_or_default();
        let (outcome, detail) = if line.starts_with("not ") {
            (
                Outcome::Fail,
                if said.is_empty() {
                    comment
                } else {
                    said.clone()
                },
            )
        } else if line.contains(" # ") {
            (Outcome::Skip, comment)
        } else if let Some(failed) = failed {
            // The test takes the first sizes for enough, and says ok.
            (Outcome::Fail, failed)
        } else {
            (
                Outcome::Pass,
                if cut {
                    ONLY_IN_PART.to_owned()
                } else {
                    String::new()
                },
            )
        };

        Case {
            name: name(line),
            outcome,
            detail,
            said,
            went_wrong,
        }
    }
}

/// The name in the line that ends a case.
fn name(line: &str) -> String {
    let line = line.strip_prefix("not ").unwrap_or(line);
    let line = line.strip_prefix("ok ").unwrap_or(line);
    let line = match line.split_once(' ') {
        Some((number, rest)) if number.chars().all(|c| c.is_ascii_digit()) => rest,
        _ => line,
    };

    line.split_once(" # ")
        .map_or(line, |(name, _)| name)
        .to_owned()
}

/// The last line of a traceback, "# Exception| a.b.Error: text", without the modules.
fn exception(line: &str) -> Option<&str> {
    let text = ["# Exception| ", "# Defer Exception| "]
        .iter()
        .find_map(|start| line.strip_prefix(start))
        .filter(|text| {
            !text.starts_with(' ') && text.chars().skip(1).collect::<String>().contains(": ")
        })?;
    let path = text
        .find(|c: char| !c.is_ascii_alphabetic() && c != '_' && c != '.')
        .and_then(|end| text.get(..end)?.rfind('.'));

    Some(path.and_then(|dot| text.get(dot + 1..)).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::{Case, Parser, ONLY_IN_PART};
    use crate::results::Outcome;

    /// The cases in an output, and what is wrong with it as a whole.
    fn parse(output: &str) -> (Vec<(String, Outcome, String)>, Option<String>) {
        let mut parser = Parser::default();
        let cases = output
            .lines()
            .filter_map(|line| parser.line(line))
            .map(
                |Case {
                     name,
                     outcome,
                     detail,
                     ..
                 }| (name, outcome, detail),
            )
            .collect();

        (cases, parser.end(1))
    }

    fn case(name: &str, outcome: Outcome, detail: &str) -> (String, Outcome, String) {
        (name.to_owned(), outcome, detail.to_owned())
    }

    #[test]
    fn results() {
        let (cases, wrong) = parse(
            "TAP version 13\n1..5\nok 1 a.x\nok 2 a.y # SKIP not here\nok 3 a.z # XFAIL\n\
             # Check failed 1 != 2 first\n# Check failed later\nnot ok 4 a.f\nok 5 a.ipv4\n# Totals: pass:2\n",
        );

        assert_eq!(
            cases,
            [
                case("a.x", Outcome::Pass, ""),
                case("a.y", Outcome::Skip, "not here"),
                case("a.z", Outcome::Skip, ""),
                case("a.f", Outcome::Fail, "Check failed 1 != 2 first"),
                case("a.ipv4", Outcome::Pass, ""),
            ]
        );
        assert_eq!(wrong, None);
    }

    #[test]
    fn exceptions() {
        let (cases, _) = parse(
            "# Exception| Traceback (most recent call last):\n\
             # Exception|   File \"x.py\", line 1: y\n\
             # Exception| net.lib.py.utils.CmdExitFailure: Command failed: ip\n\
             # Exception|   STDERR: no such device\n\
             not ok 1 a.x\n\
             # Exception| Traceback\n# Exception| lib.Error: second\nnot ok 2 a.y\n",
        );

        assert_eq!(cases[0].2, "no such device");
        assert_eq!(cases[1].2, "Error: second");
    }

    #[test]
    fn sizes_that_failed_and_sizes_that_were_left_out() {
        let (cases, _) = parse(
            "# Failed run: pkt size 9000\nok 1 a.x\n\
             # Failed run: 1800 > HDS threshold 0\nok 2 a.y\nok 3 a.z\n",
        );

        assert_eq!(
            cases[0],
            case("a.x", Outcome::Fail, "Failed run: pkt size 9000")
        );
        assert_eq!(cases[1], case("a.y", Outcome::Pass, ONLY_IN_PART));
        assert_eq!(cases[2], case("a.z", Outcome::Pass, ""));
    }

    #[test]
    fn an_output_that_breaks_off() {
        assert_eq!(
            parse("1..2\nok 1 a.x\nkilled\n\n").1.as_deref(),
            Some("ended with status 1 after 1 of 2 cases: killed")
        );
        assert_eq!(
            parse("no module\n").1.as_deref(),
            Some("ended with status 1 after 0 of its cases: no module")
        );
    }
}
