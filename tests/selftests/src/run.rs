// SPDX-License-Identifier: GPL-2.0

//! Runs the files one after the other, on both devices.

use crate::{
    config::{self, Config},
    features, hw_metadata, ksft, ports,
    results::{self, Device, Line, Outcome, Verdict},
    xsk,
};
use anyhow::{ensure, Context, Result};
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// A line of the kernel log with one of these is a complaint about a driver, or about the kernel.
const COMPLAINTS: [&str; 6] = [
    "WARNING: ",
    "BUG: ",
    "Bad page",
    "stalled pool",
    "refcount_t",
    "unregister_netdevice: waiting",
];

/// A file that is being run on a device.
pub struct Run<'a> {
    config: &'a Config,
    pub file: &'a config::File,
    pub device: Device,
    number: u32,
    /// tools/testing/selftests in the built tree, and the programs that stand before those of the
    /// system.
    pub tests: PathBuf,
    pub shims: PathBuf,
    pub log: File,
    results: &'a mut File,
}

pub fn run(config: &Config, tree: &Path, out: &Path, repeat: u32, names: &[String]) -> Result<()> {
    let release = Command::new("uname").arg("-r").output()?.stdout;
    let mut results = File::create(out.join(results::FILE))?;
    let files: Vec<_> = config
        .files
        .iter()
        .filter(|file| names.is_empty() || names.iter().any(|name| file.path.contains(name)))
        .collect();

    ensure!(
        !files.is_empty(),
        "no file of selftests.toml has this in its path: {}",
        names.join(" ")
    );
    fs::write(out.join("kernel"), release)?;
    for number in 1..=repeat {
        for device in Device::ALL {
            for file in &files {
                let name = format!(
                    "{number}-{}-{}-{}.log",
                    device.name(),
                    file.stem(),
                    file.queues
                );
                let run = Run {
                    config,
                    file,
                    device,
                    number,
                    tests: tree.join("tools/testing/selftests"),
                    shims: tree.join("shims"),
                    // Also what the tests' own output is appended to.
                    log: OpenOptions::new()
                        .create(true)
                        .append(true)
                        .open(out.join(name))?,
                    results: &mut results,
                };

                run.run()?;
            }
        }
    }
    Ok(())
}

impl Run<'_> {
    fn run(mut self) -> Result<()> {
        let start = kernel_log()?.lines().count();
        let stem = self.file.stem().to_owned();

        println!(
            "== {} on {}, queues: {}",
            self.file.path,
            self.device.name(),
            self.file.queues
        );
        let set_up = match stem.as_str() {
            "xskxceiver" => ports::set_up_together,
            _ => ports::set_up,
        };
        match set_up(self.device, self.file.queues, &mut self.log) {
            Ok(()) => match stem.as_str() {
                "xdp_features" => features::run(&mut self)?,
                "xskxceiver" => xsk::run(&mut self)?,
                "xdp_hw_metadata" => hw_metadata::run(&mut self)?,
                _ => ksft::run(&mut self)?,
            },
            Err(error) => {
                self.result(
                    &stem,
                    Outcome::Fail,
                    &format!("the ports cannot be set up: {error:#}"),
                )?;
            }
        }
        if let Err(error) = ports::tear_down(self.device, &mut self.log) {
            self.result(
                &stem,
                Outcome::Fail,
                &format!("the ports cannot be removed: {error:#}"),
            )?;
        }
        self.check_kernel_log(&stem, start)
    }

    /// Prints the result of a case and appends it to the results.
    pub fn result(&mut self, case: &str, outcome: Outcome, says: &str) -> Result<()> {
        let detail = results::one_line(says);
        let reason = self.config.reason(case, self.file.queues, outcome, &detail);
        let verdict = match (self.device, outcome) {
            (Device::Veth, _) => Verdict::None,
            (_, Outcome::Pass) => Verdict::Ok,
            _ if reason.is_some() => Verdict::Expected,
            _ => Verdict::Unexpected,
        };
        let line = Line {
            device: self.device,
            run: self.number,
            path: self.file.path.clone(),
            queues: self.file.queues,
            case: case.to_owned(),
            outcome,
            verdict,
            reason: reason
                .filter(|_| verdict == Verdict::Expected)
                .map(str::to_owned),
            detail: Some(detail).filter(|detail| !detail.is_empty()),
        };

        println!(
            "{}  {case}{}{}",
            outcome.word(),
            line.detail
                .as_ref()
                .map(|detail| format!(": {detail}"))
                .unwrap_or_default(),
            if verdict == Verdict::Unexpected {
                "  <- must pass"
            } else {
                ""
            },
        );
        writeln!(self.results, "{line}")?;
        Ok(())
    }

    fn check_kernel_log(&mut self, stem: &str, start: usize) -> Result<()> {
        let log = kernel_log()?;
        let mut complaint = None;

        for line in log.lines().skip(start) {
            writeln!(self.log, "{line}")?;
            if complaint.is_none() && COMPLAINTS.iter().any(|word| line.contains(word)) {
                complaint = Some(line);
            }
        }
        match complaint {
            Some(line) => self.result(&format!("{stem}.kernel_log"), Outcome::Fail, line),
            None => Ok(()),
        }
    }
}

fn kernel_log() -> Result<String> {
    let output = Command::new("dmesg").output().context("dmesg")?;

    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
