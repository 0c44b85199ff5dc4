// SPDX-License-Identifier: GPL-2.0

//! Compiles the XDP program, which is in C. One in Rust would be compiled here too, by aya-build.

use std::{env, path::Path, process::Command};

const SOURCE: &str = "../verdicts.bpf.c";

fn main() {
    let out = Path::new(&variable("OUT_DIR")).join("verdicts.bpf.o");
    let clang = env::var("CLANG").unwrap_or_else(|_| find_clang());
    let status = Command::new(&clang)
        .args([
            "-target", "bpf", "-mcpu=v3", "-g", "-O2", "-Wall", "-Werror",
        ])
        // clang finds no headers of the architecture by itself when BPF is the target.
        .arg(format!(
            "-I/usr/include/{}-linux-gnu",
            variable("CARGO_CFG_TARGET_ARCH")
        ))
        .args(["-c", SOURCE, "-o"])
        .arg(&out)
        .status()
        .unwrap_or_else(|error| panic!("{clang}: {error}; CLANG=... names another"));

    assert!(status.success(), "{SOURCE} could not be compiled");
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CLANG");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

/// Debian's packages have a name with the version, and clang is one of them.
fn find_clang() -> String {
    let versions = (17..=21).rev().map(|version| format!("clang-{version}"));

    ["clang".into()]
        .into_iter()
        .chain(versions)
        .find(|name| Command::new(name).arg("--version").output().is_ok())
        .unwrap_or_else(|| "clang".into())
}
