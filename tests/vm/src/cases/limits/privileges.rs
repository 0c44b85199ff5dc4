// SPDX-License-Identifier: GPL-2.0

//! What may not be done by users without privileges.

use super::state;
use crate::{
    bed::Bed,
    harness::case,
    host::{
        cmd::{self, AS_NOBODY},
        ensure_eq, module,
    },
    support::traffic::check_alive,
};
use anyhow::{ensure, Context, Result};
use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Behind [`AS_NOBODY`]: as root of a user namespace.
const ITS_ROOT: &str = "unshare --user --map-root-user";

case!(ports "limits::users_change_nothing", "queues=2", users);
/// Every change is refused, for lack of privileges only.
fn users(bed: &Bed) -> Result<()> {
    bed.up()?;
    let name = &bed.a.name;
    let before = state(&bed.a)?;
    let commands = [
        format!("ethtool -K {name} tso off"),
        format!("ethtool -G {name} rx 64"),
        format!("ethtool -L {name} combined 1"),
        format!("ethtool -A {name} tx off"),
        format!("ethtool -C {name} rx-usecs 1"),
        format!("ethtool -X {name} equal 1"),
        format!("ethtool -N {name} flow-type tcp4 action 0"),
        format!("ethtool -N {name} rx-flow-hash tcp4 sd"),
        format!("ethtool -s {name} msglvl 0xffff"),
        format!("ethtool -s {name} speed 1000"),
        format!("ip link set dev {name} down"),
        format!("ip link set dev {name} mtu 3000"),
        format!("ip link set dev {name} address 02:00:00:00:00:77"),
        format!("ip link set dev {name} xdp off"),
        format!("ip link set dev {name} promisc on"),
        format!("ip link del {name}"),
        format!("ip link add ox77 link {name} type oxnic"),
        format!("bridge fdb add 02:00:00:00:00:77 dev {name} self"),
        format!("tc qdisc add dev {name} clsact"),
    ];
    let refused = |who: &str, command: &str| {
        let line = format!("{who} {command}");
        let said = bed.a.ns.exec_refusal(&line)?;

        ensure!(
            said.contains("not permitted") || said.contains("ermission"),
            "{line}: refused for another reason: {said}"
        );
        Ok::<_, anyhow::Error>(())
    };

    for command in &commands {
        refused(AS_NOBODY, command)?;
        refused(&format!("{AS_NOBODY} {ITS_ROOT}"), command)?;
    }
    refused(AS_NOBODY, "rmmod oxnic")?;
    refused(AS_NOBODY, &format!("insmod {}", module::path()?))?;
    // A user with a network namespace of his own sees no port there, and cannot make one.
    let seen = cmd::run(&format!("{AS_NOBODY} {ITS_ROOT} --net ip -br link"))?;
    ensure!(!seen.contains("ox"), "seen from a new namespace: {seen}");
    let said = bed.a.ns.exec_refusal(&format!(
        "{AS_NOBODY} {ITS_ROOT} --net ip link add type oxnic"
    ))?;
    ensure!(
        said.contains("needs CAP_NET_ADMIN in the initial user namespace"),
        "a port in a new namespace: refused for another reason: {said}"
    );
    ensure_eq!(state(&bed.a)?, before, "the port after all of this");
    check_alive(bed)
}

/// The files below a folder, none of which others than root can write.
fn check_files(folder: &Path) -> Result<usize> {
    let mut count = 0;

    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let about = fs::symlink_metadata(&path)?;

        if about.is_dir() {
            count += check_files(&path)?;
        } else if about.is_file() {
            ensure!(
                about.mode() & 0o022 == 0 && about.uid() == 0,
                "{} has mode {:o} and belongs to {}",
                path.display(),
                about.mode(),
                about.uid()
            );
            count += 1;
        }
    }
    Ok(count)
}

case!(ports "limits::files_are_root_s", "", files);
/// The files that the kernel makes for the module, the one in debugfs, and no others.
fn files(_bed: &Bed) -> Result<()> {
    ensure!(
        check_files(Path::new("/sys/module/oxnic"))? > 0,
        "the module has no files"
    );
    ensure_eq!(
        check_files(Path::new("/sys/kernel/debug/oxnic"))?,
        1,
        "files in debugfs"
    );
    for folder in ["/proc/oxnic", "/dev/oxnic"] {
        ensure!(!Path::new(folder).exists(), "{folder} is there");
    }
    Ok(())
}
