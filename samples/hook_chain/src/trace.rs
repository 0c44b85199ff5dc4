// SPDX-License-Identifier: GPL-2.0

//! ftrace, in an instance of tracefs of our own: nothing that is set there is seen elsewhere, and
//! when it is removed all of it is gone.

use anyhow::{anyhow, bail, ensure, Context, Result};
use std::{fs, io::ErrorKind, path::Path};

const TRACEFS: &str = "/sys/kernel/tracing";
const INSTANCE: &str = "/sys/kernel/tracing/instances/hook_chain";

/// What ftrace has between a function and its own code: made at run time on x86-64, a function of the
/// kernel on arm64.
const TRAMPOLINES: [&str; 2] = ["[FTRACE TRAMPOLINE]", "ftrace_caller"];

/// The instance, removed when this is dropped.
pub struct Instance;

impl Instance {
    /// Makes the instance: it records nothing yet.
    pub fn make() -> Result<Self> {
        match fs::create_dir(INSTANCE) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("{INSTANCE} is there: another hook_chain runs, or one was killed (rmdir removes it)")
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("there is no tracefs at {TRACEFS} (mount -t tracefs tracefs {TRACEFS})")
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                bail!("tracing needs root: {error}")
            }
            Err(error) => return Err(error).context("making an instance of tracefs"),
        }
        Ok(Self)
    }

    /// Fails with what this kernel lacks.
    pub fn check(&self) -> Result<()> {
        let tracers = fs::read_to_string(format!("{TRACEFS}/available_tracers"))?;

        ensure!(
            tracers.split_whitespace().any(|name| name == "function"),
            "this kernel cannot trace functions (CONFIG_FUNCTION_TRACER)"
        );
        ensure!(
            Path::new(&format!("{INSTANCE}/events/printk/console")).exists(),
            "this kernel has no event for lines of its log (printk:console)"
        );
        Ok(())
    }

    /// The functions that ftrace can trace at all.
    pub fn traceable(&self) -> Result<String> {
        fs::read_to_string(format!("{TRACEFS}/available_filter_functions"))
            .context("reading which functions can be traced")
    }

    /// From now on calls of these functions are recorded, and lines of the kernel log, all of them
    /// with the stack. With a task, only what it does. The functions are given as
    /// `set_ftrace_filter` wants them.
    pub fn start(&self, functions: &[&str], task: Option<u32>) -> Result<()> {
        let task = task.map_or_else(String::new, |pid| pid.to_string());

        self.write("tracing_on", "0")?;
        // First of all: the tracer without a filter would trace every function of the kernel.
        self.write("set_ftrace_filter", &functions.join("\n"))
            .with_context(|| format!("this kernel cannot trace one of {}", functions.join(", ")))?;
        self.write("set_ftrace_pid", &task)?;
        self.write("set_event_pid", &task)?;
        self.write("current_tracer", "function")?;
        self.write("options/func_stack_trace", "1")?;
        self.write("options/stacktrace", "1")?;
        self.write("events/printk/console/enable", "1")?;
        self.write("trace", "")?;
        self.write("tracing_on", "1")
    }

    pub fn stop(&self) -> Result<()> {
        self.write("tracing_on", "0")
    }

    /// What was recorded so far, in order.
    pub fn events(&self) -> Result<Vec<Event>> {
        parse(&fs::read_to_string(format!("{INSTANCE}/trace")).context("reading the trace")?)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        fs::write(format!("{INSTANCE}/{file}"), format!("{text}\n"))
            .with_context(|| format!("tracefs: writing to {file}"))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let stopped = self.write("current_tracer", "nop");

        if let Err(error) = stopped.and_then(|()| Ok(fs::remove_dir(INSTANCE)?)) {
            eprintln!("hook_chain: removing {INSTANCE}: {error:#}");
        }
    }
}

/// Something that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who ran, as `NAME-PID`. In an interrupt it is who was interrupted.
    pub task: String,
    pub cpu: u32,
    pub what: What,
    /// The symbols of the functions that were being executed, the outermost first. The traced
    /// function itself is the last.
    pub stack: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A call of the function with this symbol.
    Call(String),
    /// A line of the kernel log.
    Line(String),
}

/// Reads what `trace` looks like: a line for each event, and then one for each function on the
/// stack, the innermost first.
///
/// ```text
///               ip-169     [000] .....     8.602389: bpf_prog_inc <-dev_xdp_install
///               ip-169     [000] .....     8.602627: <stack trace>
///  => bpf_prog_inc
///  => dev_xdp_install
/// ```
fn parse(text: &str) -> Result<Vec<Event>> {
    let mut events: Vec<Event> = Vec::new();
    // Where the stack belongs that is being read.
    let mut open = None;

    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(symbol) = line.strip_prefix(" => ") {
            if let Some(event) = open.and_then(|at: usize| events.get_mut(at)) {
                event.stack.insert(0, symbol.to_owned());
            }
            continue;
        }
        let Some((task, cpu, text)) = head(line) else {
            // A CPU's buffer may have overflowed; what is in it now is whole.
            continue;
        };

        if text == "<stack trace>" {
            open = events.iter().rposition(|event| event.cpu == cpu);
            continue;
        }
        let what = match text.strip_prefix("console: ") {
            Some(line) => What::Line(line.to_owned()),
            None => What::Call(
                text.split_once(" <-")
                    .ok_or_else(|| anyhow!("not understood in the trace: {line}"))?
                    .0
                    .to_owned(),
            ),
        };

        events.push(Event {
            task: task.to_owned(),
            cpu,
            what,
            stack: Vec::new(),
        });
    }
    for event in &mut events {
        event.trim();
    }
    Ok(events)
}

/// The task, the CPU and the text of an event's line.
fn head(line: &str) -> Option<(&str, u32, &str)> {
    let (task, rest) = line.split_once(" [")?;
    let (cpu, rest) = rest.split_once("] ")?;
    let (_, text) = rest.split_once(": ")?;

    Some((task.trim(), cpu.parse().ok()?, text))
}

impl Event {
    /// Takes those functions off the stack that are there only because of the tracing, or to get a
    /// line into the log.
    fn trim(&mut self) {
        self.stack
            .retain(|symbol| !TRAMPOLINES.contains(&symbol.as_str()));
        if matches!(self.what, What::Line(_)) {
            let printing = self.stack.iter().position(|symbol| symbol == "_printk");

            self.stack.truncate(printing.unwrap_or(self.stack.len()));
            while self.stack.last().is_some_and(|symbol| prints(symbol)) {
                self.stack.pop();
            }
        }
    }
}

/// Whether this is how oxnic prints, whatever it prints: its module `net::print`.
fn prints(symbol: &str) -> bool {
    rustc_demangle::try_demangle(symbol)
        .is_ok_and(|name| format!("{name:#}").contains("::net::print::"))
}

#[cfg(test)]
mod tests {
    use super::{parse, Event, What};

    #[test]
    fn stacks_of_two_cpus() -> anyhow::Result<()> {
        let text = "# tracer: function\n\
            \x20   a b-1-169 [000] .....     8.602389: f <-g\n\
            \x20   ping-7    [001] d.s1.     8.602390: console: oxnic ox0: x: y\n\
            \x20   a b-1-169 [000] .....     8.602391: <stack trace>\n \
            => [FTRACE TRAMPOLINE]\n => f\n => g\n\
            \x20   ping-7    [001] d.s1.     8.602392: <stack trace>\n \
            => vprintk\n => _printk\n => _RNvNtNtCs3RmpnaPaZMB_5oxnic3net5print4info\n => h\n";
        let event = |task: &str, cpu, what, stack: &[&str]| Event {
            task: task.to_owned(),
            cpu,
            what,
            stack: stack.iter().map(|&symbol| symbol.to_owned()).collect(),
        };

        assert_eq!(
            parse(text)?,
            [
                event("a b-1-169", 0, What::Call("f".to_owned()), &["g", "f"]),
                event(
                    "ping-7",
                    1,
                    What::Line("oxnic ox0: x: y".to_owned()),
                    &["h"]
                ),
            ]
        );
        Ok(())
    }
}
