// SPDX-License-Identifier: GPL-2.0

//! One line for each step of a measurement, as soon as it is done.

use std::io::Write;

pub struct Progress {
    done: usize,
    steps: usize,
    said: String,
}

impl Progress {
    pub fn new(steps: usize) -> Self {
        Self {
            done: 0,
            steps,
            said: String::new(),
        }
    }

    /// Says something between the steps.
    pub fn say(&mut self, line: &str) {
        // Who watches wants to see it now; if nobody does, nothing is lost.
        let _ = writeln!(std::io::stdout(), "{line}");
        self.said += line;
        self.said.push('\n');
    }

    /// All that was said.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// A step is done; `result` says what came out.
    pub fn step(&mut self, name: &str, on: &str, result: &str) {
        let blank = if on.is_empty() { "" } else { " " };

        self.done += 1;
        self.say(&format!(
            "[{:3}/{}] {name}{blank}{on}: {result}",
            self.done, self.steps
        ));
    }
}

/// The newest of some costs, as the result of a step.
pub fn newest(runs: &[f64], digits: usize) -> String {
    runs.last()
        .map_or_else(|| "skipped".into(), |cost| format!("{cost:.digits$}"))
}
