// SPDX-License-Identifier: GPL-2.0

//! hook_chain: what it shows is what the kernel did, and it leaves nothing behind.

use super::{refused, refused_to_nobody, start};
use crate::{
    bed::{Bed, Port, V4},
    bpf::{wait_freed, Program},
    harness::case,
    host::{ensure_eq, kmsg::Kmsg, module, process::Running},
    nl::link::XdpAttached,
};
use anyhow::{anyhow, ensure, Context, Result};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const TRACEFS: &str = "/sys/kernel/tracing";
const INSTANCE: &str = "/sys/kernel/tracing/instances/hook_chain";
const WAITING: &str = "Waiting for a frame at ox1";

/// What the sample changes for a while.
#[derive(Debug, PartialEq, Eq)]
struct State {
    tracefs: Vec<String>,
    instance: bool,
    messages: Option<String>,
    mode: XdpAttached,
}

impl State {
    fn now(port: &Port) -> Result<Self> {
        let files = [
            "current_tracer",
            "set_ftrace_filter",
            "set_ftrace_pid",
            "set_event",
            "set_event_pid",
            "trace_options",
            "tracing_on",
        ];

        Ok(Self {
            tracefs: files
                .iter()
                .map(|file| fs::read_to_string(format!("{TRACEFS}/{file}")))
                .collect::<Result<_, _>>()?,
            instance: Path::new(INSTANCE).exists(),
            messages: port
                .ethtool("", "")?
                .lines()
                .find(|line| line.contains("message level"))
                .map(str::to_owned),
            mode: port.link()?.xdp_mode,
        })
    }
}

/// A line of a tree.
#[derive(Debug)]
struct Node {
    known: String,
    depth: usize,
    name: String,
}

/// The trees in what the sample says, each from its root.
fn parse(said: &str) -> Result<Vec<Vec<Node>>> {
    let words = ["traced", "stack", "no ftrace", "inlined", "no frame", "log"];
    let mut trees = Vec::new();
    let mut lines = said.lines();

    while lines.any(|line| line.starts_with("In task ")) {
        let tree: Vec<_> = lines
            .by_ref()
            .skip_while(|line| line.starts_with("  "))
            .take_while(|line| !line.is_empty())
            .map(|line| {
                let (known, rest) = line
                    .split_at_checked(11)
                    .ok_or_else(|| anyhow!("too short: {line}"))?;
                let known = known.trim_end().to_owned();

                ensure!(words.contains(&&*known), "not known how: {line}");
                Ok(Node {
                    depth: (rest.len() - rest.trim_start().len()) / 2,
                    name: rest.trim_start().to_owned(),
                    known,
                })
            })
            .collect::<Result<_>>()?;

        ensure!(!tree.is_empty(), "an empty tree in: {said}");
        trees.push(tree);
    }
    Ok(trees)
}

/// The names of the functions around the line at `at`, the outermost first, and its own.
fn chain(tree: &[Node], at: usize) -> Vec<&str> {
    let mut depth = tree[at].depth + 1;
    let mut chain = Vec::new();

    for node in tree[..=at].iter().rev() {
        if node.depth < depth {
            depth = node.depth;
            chain.insert(0, node.name.as_str());
        }
    }
    chain
}

/// Where the first line is that begins with `name`.
fn find(tree: &[Node], name: &str) -> Result<usize> {
    tree.iter()
        .position(|node| node.name.starts_with(name))
        .ok_or_else(|| anyhow!("no {name} in {tree:#?}"))
}

/// Fails unless a function in the chain begins with each of `names`, in this order.
fn expect_chain(chain: &[&str], names: &[&str]) -> Result<()> {
    let mut rest = chain.iter();

    for name in names {
        ensure!(
            rest.any(|function| function.starts_with(name)),
            "{name} is not where it should be in {chain:#?}"
        );
    }
    Ok(())
}

/// The driver's lines in a tree.
fn log(tree: &[Node]) -> Vec<&str> {
    tree.iter()
        .filter(|node| node.known == "log")
        .map(|node| node.name.as_str())
        .collect()
}

/// The first words of the lines of a file that lists functions.
fn names(file: &str, at: usize) -> Result<BTreeSet<String>> {
    Ok(fs::read_to_string(file)?
        .lines()
        .filter_map(|line| line.split_whitespace().nth(at))
        // Copies that the compiler has made count as the function.
        .map(|name| name.split('.').next().unwrap_or(name).to_owned())
        .collect())
}

/// That it is as the sample says: which C functions could be traced, and which there are. (Of
/// Rust's the kernel knows the mangled names only.)
fn check_known(tree: &[Node]) -> Result<()> {
    let traceable = names(&format!("{TRACEFS}/available_filter_functions"), 0)?;
    let symbols = names("/proc/kallsyms", 2)?;

    for node in tree.iter().filter(|node| node.known != "log") {
        let name = node.name.split("  (").next().unwrap_or(&node.name);

        match &*node.known {
            "traced" | "stack" => ensure!(traceable.contains(name), "not traceable: {node:?}"),
            known => ensure!(!traceable.contains(name), "traceable: {name}: {known}"),
        }
        if node.known == "inlined" {
            ensure!(!symbols.contains(name), "has a symbol: {name}");
            ensure!(in_source(name)?, "is not in the source: {name}");
        }
    }
    Ok(())
}

/// Whether the source has such a function: one that is there no more has no symbol either. The
/// kernel's source is not looked at where it is not there, in the VM of another architecture.
fn in_source(name: &str) -> Result<bool> {
    let module = PathBuf::from(module::path()?);
    let rust = module.with_file_name("rust");
    let (folder, what) = match name.rsplit_once("::") {
        Some((_, name)) => (rust.as_path(), format!("fn {name}")),
        None => (Path::new("/usr/src/linux/include"), name.to_owned()),
    };
    if !folder.exists() && cfg!(not(target_arch = "x86_64")) {
        return Ok(true);
    }
    let found = Command::new("grep")
        .args([
            "--dereference-recursive",
            "--quiet",
            "--include=*.rs",
            "--include=*.h",
        ])
        .args(["--fixed-strings", "--word-regexp", "--", &what])
        .arg(folder)
        .status()
        .context("starting grep")?;

    Ok(found.success())
}

fn id_of(said: &str) -> Result<u32> {
    said.split_once("Attaching program ")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| anyhow!("no program in: {said}"))
}

fn wait_for_frame(port: &Port, line: &str) -> Result<(Running, u32)> {
    let mut sample = start(port, line)?;

    sample.wait_for(WAITING)?;
    let id = id_of(&sample.said())?;
    Ok((sample, id))
}

case!(ports "samples::hook_chain_trees", "", trees);
fn trees(bed: &Bed) -> Result<()> {
    bed.up_with_addresses()?;
    let before = State::now(&bed.b)?;
    let mut kmsg = Kmsg::from_now()?;
    let (sample, id) = wait_for_frame(&bed.b, "hook_chain ox1")?;
    let attaching: Vec<_> = kmsg.starting_with("oxnic ox1: ")?;

    // Frames at the other port are none of its business.
    bed.a.ns.ping(&format!("-c 2 -i 0.2 {}", V4[1]))?;
    let said = sample.finish()?;
    let frames = kmsg.starting_with("oxnic ox1: rx_ring[")?;
    ensure_eq!(State::now(&bed.b)?, before, "what it has changed");
    wait_freed(id)?;

    let trees = parse(&said)?;
    let [control, data] = &trees[..] else {
        anyhow::bail!("expected two trees in: {said}");
    };

    control_path(control, id, &attaching).with_context(|| said.clone())?;
    data_path(data, id, &frames).with_context(|| said.clone())
}

fn control_path(tree: &[Node], id: u32, attaching: &[String]) -> Result<()> {
    let way = [
        "rtnetlink_rcv_msg",
        "rtnl_setlink",
        "do_setlink",
        "dev_change_xdp_fd",
        "dev_xdp_attach",
        "dev_xdp_install",
        "<NetdevOps<Vsi>>::bpf  (ndo_bpf)",
        "<Vsi as Ops>::bpf",
    ];

    // All that the driver said, in this order, and each line where it was said. What it says about
    // frames comes after what it says about the program.
    ensure_eq!(log(tree), attaching, "lines of the log");
    ensure!(
        attaching
            .iter()
            .any(|line| line.ends_with(&format!("XDP_SETUP_PROG, program id {id} \"hook_chain\""))),
        "what the driver said: {attaching:?}"
    );
    for (at, _) in tree
        .iter()
        .enumerate()
        .filter(|(_, node)| node.known == "log")
    {
        expect_chain(&chain(tree, at), &way)?;
    }
    // dev_xdp_install takes a reference for the driver before it calls it. The device and each ring
    // take one more.
    let rings = attaching
        .iter()
        .filter(|line| line.contains("WRITE_ONCE"))
        .count();
    let taken = |of: &str| {
        (0..tree.len())
            .filter(|&at| tree[at].name == "bpf_prog_inc" && tree[at].known == "traced")
            .filter(|&at| chain(tree, at).iter().any(|name| name.starts_with(of)))
            .count()
    };
    ensure!(rings > 0, "no ring was told: {attaching:?}");
    ensure_eq!(
        taken("<Vsi as Ops>::bpf"),
        1 + rings,
        "references of the driver"
    );
    ensure!(
        taken("dev_xdp_install") > taken("<NetdevOps<Vsi>>::bpf"),
        "no reference was taken before ndo_bpf"
    );
    check_known(tree)
}

fn data_path(tree: &[Node], id: u32, frames: &[String]) -> Result<()> {
    let run = find(tree, "oxnic_bpf_prog_run_xdp")?;
    let helper = find(tree, "bpf_xdp_get_buff_len")?;
    let napi = [
        "net_rx_action",
        "__napi_poll",
        "<Napi<RxPoll>>::poll",
        "<RxPoll as Poll>::poll",
    ];

    expect_chain(&chain(tree, run), &napi)?;
    let to_program = chain(tree, helper);
    expect_chain(&to_program, &napi)?;
    expect_chain(
        &to_program,
        &[
            "oxnic_bpf_prog_run_xdp",
            "bpf_prog_",
            "bpf_xdp_get_buff_len",
        ],
    )?;
    ensure!(
        to_program
            .iter()
            .any(|name| name.starts_with("bpf_prog_") && name.ends_with("_hook_chain")),
        "the program itself is not in {to_program:?}"
    );
    ensure_eq!(tree[helper].known, "traced", "how the helper is known");
    let log = log(tree);
    let [line] = log[..] else {
        anyhow::bail!("expected one line of the log: {log:?}");
    };
    ensure!(
        frames.iter().any(|frame| frame == line)
            && line.contains(&format!(": id {id}; bpf_prog_run_xdp("))
            && line.ends_with("= XDP_PASS"),
        "\"{line}\" is not in the log: {frames:?}"
    );
    check_known(tree)
}

case!(ports "samples::hook_chain_whole", "", whole);
/// From the system call on, with nothing left for the text before the tree.
fn whole(bed: &Bed) -> Result<()> {
    bed.up_with_addresses()?;
    let (sample, _) = wait_for_frame(&bed.b, "hook_chain --whole ox1")?;
    bed.a.ns.ping(&format!("-c 1 {}", V4[1]))?;
    let said = sample.finish()?;
    let trees = parse(&said)?;

    ensure_eq!(trees.len(), 2, "trees in: {said}");
    let at = find(&trees[0], "<Vsi as Ops>::bpf")?;
    let [entry, syscall] = if cfg!(target_arch = "x86_64") {
        ["entry_SYSCALL_64", "do_syscall_64"]
    } else {
        ["el0t_64_sync", "el0_svc"]
    };
    expect_chain(
        &chain(&trees[0], at),
        &[entry, syscall, "netlink_sendmsg", "rtnetlink_rcv_msg"],
    )
    .with_context(|| said.clone())?;
    let at = find(&trees[1], "net_rx_action")?;
    expect_chain(&chain(&trees[1], at), &["handle_softirqs", "net_rx_action"])
        .with_context(|| said.clone())
}

case!(ports "samples::hook_chain_interrupted", "", interrupted);
fn interrupted(bed: &Bed) -> Result<()> {
    // Without addresses no one sends anything.
    bed.up()?;
    let before = State::now(&bed.b)?;
    let (sample, id) = wait_for_frame(&bed.b, "hook_chain ox1")?;
    let meanwhile = State::now(&bed.b)?;

    ensure!(
        meanwhile.instance
            && meanwhile.mode != before.mode
            && meanwhile.messages != before.messages,
        "it should be at work: {meanwhile:?}"
    );
    ensure_eq!(
        meanwhile.tracefs,
        before.tracefs,
        "settings of all of tracefs"
    );
    // Two at once would record what the other does.
    refused(&bed.b, "hook_chain ox1", "another hook_chain runs")?;
    refused(&bed.a, "hook_chain ox0", "another hook_chain runs")?;

    let said = sample.interrupt()?;
    ensure!(
        said.trim_end().ends_with("Stopped before a frame came."),
        "interrupted: {said}"
    );
    ensure_eq!(State::now(&bed.b)?, before, "what it has changed");
    wait_freed(id)
}

case!(ports "samples::hook_chain_refusals", "", refusals);
fn refusals(bed: &Bed) -> Result<()> {
    bed.up()?;
    let before = State::now(&bed.b)?;

    refused(&bed.b, "hook_chain ox9", "no interface called ox9")?;
    refused(&bed.b, "hook_chain lo", "lo is no port of oxnic")?;
    refused(&bed.b, "hook_chain --obj /none.bpf.o ox1", "/none.bpf.o")?;
    refused_to_nobody(&bed.b, "hook_chain ox1")?;
    refused(
        &bed.b,
        "hook_chain --timeout 1 ox1",
        "no frame came to ox1 within 1 s",
    )?;
    let (status, said) = start(&bed.b, "hook_chain --timeout 0 ox1")?.end()?;
    ensure_eq!(status.code(), Some(2), "--timeout 0: {said}");
    ensure_eq!(
        State::now(&bed.b)?,
        before,
        "what the refused ones have changed"
    );

    // A program that is there already is left alone.
    let program = Program::sample("xdp_pass")?;
    bed.b.attach(&program)?;
    refused(&bed.b, "hook_chain ox1", "ox1 has an XDP program already")?;
    ensure_eq!(
        bed.b.link()?.xdp_driver_id,
        Some(program.id),
        "program of the port"
    );
    bed.b.detach()?;
    ensure_eq!(State::now(&bed.b)?, before, "what the last one has changed");
    Ok(())
}
