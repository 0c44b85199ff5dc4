// SPDX-License-Identifier: GPL-2.0

//! What happens around every test.
//!
//! Before it: what an aborted run left is cleared away, the module is loaded with the test's
//! parameters, and the ports `ox0` and `ox1` move into fresh namespaces. After it, whether it
//! passed or not, the module is unloaded and the machine must be as it was:
//!
//! - the kernel log has no line of severity warning or worse and none that speaks of a fault,
//!   apart from those listed in [`crate::host::kmsg`] and by the test itself, each for a reason;
//! - there is no module, no device named `ox*`, no page pool that waits for its pages, no BPF
//!   program that the test loaded;
//! - on a debug kernel, its instruments have found nothing: see [`crate::host::instruments`].
//!
//! A test that leaves something behind has failed.

use crate::{
    bed::{port_names, Bed, NS_A, NS_B},
    bpf,
    host::{
        cpus, fault, instruments, kmsg::Kmsg, module, netns::Netns, wait_until, watchdog::Watchdog,
    },
    nl::netdev,
    wire::xsk,
};
use anyhow::{anyhow, bail, Context, Result};
use libtest_mimic::{Completion, Failed, Trial};
use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    panic::{catch_unwind, AssertUnwindSafe},
    path::{Path, PathBuf},
};

/// Lines of the kernel log shown when a test fails.
const LOG_TAIL: usize = 60;

/// How a test is called.
#[derive(Clone, Copy)]
enum Body {
    /// With the module loaded and its ports in namespaces.
    Ports(fn(&Bed) -> Result<()>),
    /// Without the module: the test loads it itself.
    Bare(fn() -> Result<()>),
    /// The test of this name, which is one with ports, with sockets on all of their queues.
    UnderSockets(&'static str),
}

/// A test; [`case!`] makes it one of those that run.
pub struct Case {
    name: &'static str,
    params: &'static str,
    allowed: &'static [&'static str],
    needs: fn() -> bool,
    body: Body,
}

impl Case {
    /// A test between `ox0` and `ox1` of a module loaded with `params`.
    pub const fn ports(
        name: &'static str,
        params: &'static str,
        body: fn(&Bed) -> Result<()>,
    ) -> Self {
        Self {
            name,
            params,
            allowed: &[],
            needs: || true,
            body: Body::Ports(body),
        }
    }

    /// A test that loads the module itself.
    pub const fn bare(name: &'static str, body: fn() -> Result<()>) -> Self {
        Self {
            name,
            params: "",
            allowed: &[],
            needs: || true,
            body: Body::Bare(body),
        }
    }

    /// Another test between `ox0` and `ox1`, with a zero-copy AF_XDP socket on every queue of both.
    pub const fn under_sockets(name: &'static str, of: &'static str) -> Self {
        Self {
            name,
            params: "",
            allowed: &[],
            needs: || true,
            body: Body::UnderSockets(of),
        }
    }

    /// Pieces of log lines that this test provokes on purpose.
    pub const fn allow(self, allowed: &'static [&'static str]) -> Self {
        Self { allowed, ..self }
    }

    /// The test is ignored by a kernel that lacks what it needs.
    pub const fn needs(self, needs: fn() -> bool) -> Self {
        Self { needs, ..self }
    }

    /// The test makes allocations fail. The kernel's messages about that are allowed, and a kernel
    /// without fault injection ignores the test.
    pub const fn with_faults(self) -> Self {
        self.needs(fault::is_there).allow(&fault::SAID)
    }

    /// The test is ignored on a machine with one CPU.
    pub const fn two_cpus(self) -> Self {
        self.needs(|| cpus::all().is_ok_and(|cpus| cpus.len() >= 2))
    }

    /// The test is ignored on the debug kernel, which is too slow or too large for it.
    pub const fn stock_only(self) -> Self {
        self.needs(|| !instruments::present())
    }

    fn run(&self) -> Result<()> {
        match self.body {
            Body::Bare(body) => body(),
            Body::Ports(body) => {
                module::load(self.params)?;
                body(&Bed::make()?)
            }
            Body::UnderSockets(name) => {
                let of = Self::named(name)?;
                let Body::Ports(body) = of.body else {
                    bail!("{name} has no ports");
                };

                module::load(of.params)?;
                let bed = Bed::make()?;
                let _sockets = xsk::on_every_queue(&bed)?;
                body(&bed)?;
                xsk::ensure_used(&bed)
            }
        }
    }

    fn named(name: &str) -> Result<&'static Self> {
        inventory::iter::<Case>
            .into_iter()
            .find(|case| case.name == name)
            .ok_or_else(|| anyhow!("there is no test {name}"))
    }

    /// The test that it is a variant of, or the test itself.
    fn origin(&self) -> Result<&Self> {
        match self.body {
            Body::UnderSockets(name) => Self::named(name),
            _ => Ok(self),
        }
    }
}

inventory::collect!(Case);

/// Registers a test, in the line above its function: one of [`Case`]'s constructors, its arguments,
/// and after a semicolon calls of [`Case`]'s methods. `case!(ports "mtu::tagged", "queues=4",
/// tagged; stock_only());`
macro_rules! case {
    ($kind:ident $($argument:expr),+ $(; $($method:ident($($with:expr)?)),+)?) => {
        inventory::submit! {
            $crate::harness::Case::$kind($($argument),+) $($(.$method($($with)?))+)?
        }
    };
}
pub(crate) use case;

/// All registered tests, in the order of their names.
pub fn cases() -> Vec<&'static Case> {
    let mut cases: Vec<_> = inventory::iter::<Case>.into_iter().collect();

    cases.sort_by_key(|case| case.name);
    cases
}

/// Wraps a test for the test runner. With `claims`, a directory that several virtual machines see,
/// it runs only in the machine that comes to it first.
pub fn trial(case: &'static Case, claims: Option<PathBuf>) -> Trial {
    Trial::ignorable_test(case.name, move || {
        if let Some(claims) = claims {
            if !claim(&claims, case.name)? {
                return Ok(Completion::ignored_with(CLAIMED));
            }
        }
        // A variant of a test that does not exist fails when it is run.
        if case.origin().is_ok_and(|origin| !(origin.needs)()) {
            return Ok(Completion::ignored());
        }
        surrounded(case).map_err(|e| {
            let text = format!("{e:#}");

            // Now; libtest-mimic prints it after the last test.
            println!("\n{text}");
            Failed::from(text)
        })?;
        Ok(Completion::Completed)
    })
}

/// Why a test is ignored that another virtual machine runs. `scripts/test` leaves such lines out.
const CLAIMED: &str = "claimed by another VM";

/// Claims a test; `false` if another virtual machine has claimed it. `mkdir` is atomic: of several
/// machines that come to a test at the same time, only one makes the directory.
fn claim(claims: &Path, name: &str) -> Result<bool> {
    let claim = claims.join(name);

    match fs::create_dir(&claim) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("claiming {}", claim.display())),
    }
}

fn surrounded(case: &Case) -> Result<()> {
    let _watchdog = Watchdog::arm(case.name);

    clear_away().context("clearing up before the test")?;
    let before = Traces::now()?;
    let mut log = Kmsg::from_now()?;

    let outcome = catch_unwind(AssertUnwindSafe(|| case.run()))
        .unwrap_or_else(|panic| Err(anyhow!("panicked: {}", panic_text(&*panic))));
    let left = tear_down(&before);
    let found = instruments::check();
    let logged = check_log(&mut log, case.origin()?.allowed);

    let errors: Vec<_> = [
        ("", outcome),
        ("after the test: ", left),
        ("", found),
        ("", logged),
    ]
    .into_iter()
    .filter_map(|(when, result)| Some(format!("{when}{:#}", result.err()?)))
    .collect();

    if errors.is_empty() {
        return Ok(());
    }
    let lines = log.lines()?;
    let tail: Vec<_> = lines[lines.len().saturating_sub(LOG_TAIL)..]
        .iter()
        .map(|line| format!("    {}", line.text))
        .collect();

    bail!(
        "end of the kernel log:\n{}\n{}",
        tail.join("\n"),
        errors.join("\n")
    )
}

/// After the last test: what a debug kernel's instruments only see then.
pub fn last_check() -> Result<()> {
    let mut log = Kmsg::from_now()?;

    instruments::last_check()?;
    check_log(&mut log, &[])
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

/// Removes what an aborted run may have left.
fn clear_away() -> Result<()> {
    for ns in [NS_A, NS_B] {
        if Netns::exists(ns) {
            Netns::existing(ns).delete()?;
        }
    }
    if module::is_loaded() {
        module::unload()?;
    }
    Ok(())
}

/// What a test could leave behind, as it was before the test.
struct Traces {
    programs: BTreeSet<u32>,
    pools: BTreeSet<u64>,
}

impl Traces {
    fn now() -> Result<Self> {
        Ok(Self {
            programs: bpf::program_ids()?,
            pools: netdev::page_pools()?.iter().map(|pool| pool.id).collect(),
        })
    }
}

/// Unloads the module and looks for what is left.
fn tear_down(before: &Traces) -> Result<()> {
    let mut namespaces = vec![Netns::initial()];

    for name in [NS_A, NS_B] {
        if Netns::exists(name) {
            namespaces.push(Netns::existing(name));
        }
    }
    if module::is_loaded() {
        module::unload()?;
    }
    if module::is_loaded() {
        bail!("/sys/module/oxnic is still there");
    }
    for ns in &namespaces {
        no_ports(ns)?;
        no_page_pools(ns, before)?;
    }
    for ns in &namespaces {
        ns.delete()?;
    }
    no_programs(before)
}

fn no_ports(ns: &Netns) -> Result<()> {
    let left = ns.enter(port_names)?;

    if !left.is_empty() {
        bail!("devices without their module: {left:?}");
    }
    Ok(())
}

/// Waits for pages to come back: a socket that was closed a moment ago may still hold some.
fn no_page_pools(ns: &Netns, before: &Traces) -> Result<()> {
    let mut left = Vec::new();

    wait_until("page pools are gone", || {
        cpus::free_deferred_skbs()?;
        left = ns.enter(netdev::page_pools)?;
        left.retain(|pool| {
            !before.pools.contains(&pool.id) && (pool.detached || pool.ifindex.is_none())
        });
        Ok(left.is_empty())
    })
    .with_context(|| {
        let left: Vec<_> = left.iter().map(ToString::to_string).collect();
        format!("page pools left: {}", left.join(", "))
    })
}

fn no_programs(before: &Traces) -> Result<()> {
    let mut left = BTreeSet::new();

    wait_until("the test's BPF programs are freed", || {
        left = &bpf::program_ids()? - &before.programs;
        Ok(left.is_empty())
    })
    .with_context(|| format!("program ids left: {left:?}"))
}

fn check_log(log: &mut Kmsg, allowed: &[&str]) -> Result<()> {
    let bad: Vec<_> = log
        .lines()?
        .iter()
        .filter(|line| line.is_bad(allowed))
        .map(|line| format!("<{}> {}", line.level, line.text))
        .collect();

    if !bad.is_empty() {
        bail!(
            "the kernel log has {} bad lines:\n    {}",
            bad.len(),
            bad.join("\n    ")
        );
    }
    if log.lost {
        bail!("the kernel log wrapped around: lines were not checked");
    }
    Ok(())
}
