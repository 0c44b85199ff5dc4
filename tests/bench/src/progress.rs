// SPDX-License-Identifier: GPL-2.0

//! One line for each step of a measurement, as soon as it is done.

use std::io::Write;

pub struct Progress {
    done: usize,
    steps: usize,
}

impl Progress {
    pub fn new(steps: usize) -> Self {
        Self { done: 0, steps }
    }

    /// A step is done; `result` says what came out.
    pub fn step(&mut self, name: &str, on: &str, result: &str) {
        self.done += 1;
        println!("[{:3}/{}] {name} {on}: {result}", self.done, self.steps);
        // Who watches wants to see it now; if nobody does, nothing is lost.
        let _ = std::io::stdout().flush();
    }
}

/// The newest of some costs, as the result of a step.
pub fn newest(runs: &[f64], digits: usize) -> String {
    runs.last()
        .map_or_else(|| "skipped".into(), |cost| format!("{cost:.digits$}"))
}
