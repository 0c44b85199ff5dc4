// SPDX-License-Identifier: GPL-2.0

//! Attaching, replacing and detaching, by netlink and by BPF link, in every mode.

use crate::{
    bed::{Bed, Port},
    bpf::{self, wait_freed, Program},
    harness::case,
    host::{ensure_eq, module, wait_until},
    nl::link::{
        XdpAttached, XDP_FLAGS_DRV_MODE, XDP_FLAGS_HW_MODE, XDP_FLAGS_REPLACE, XDP_FLAGS_SKB_MODE,
        XDP_FLAGS_UPDATE_IF_NOEXIST,
    },
    support::{
        attach::{link_create, linked},
        buffers::JUMBO,
    },
    wire::{packet::Sender, probe::Probe},
};
use anyhow::{anyhow, bail, ensure, Result};
use nix::errno::Errno;

fn expect_attached(port: &Port, mode: XdpAttached, id: Option<u32>) -> Result<()> {
    let link = port.link()?;
    let (driver, generic) = match mode {
        XdpAttached::Driver => (id, None),
        XdpAttached::SocketBuffer => (None, id),
        _ => (None, None),
    };

    ensure_eq!(link.xdp_mode, mode, "{}: IFLA_XDP_ATTACHED", port.name);
    ensure_eq!(
        link.xdp_driver_id,
        driver,
        "{}: program in driver mode",
        port.name
    );
    ensure_eq!(
        link.xdp_generic_id,
        generic,
        "{}: program in generic mode",
        port.name
    );
    Ok(())
}

/// Sends `count` frames to port B, which is said to have received `before`.
fn send(bed: &Bed, before: u64, count: u32) -> Result<u64> {
    Sender::open(&bed.a)?.send_flow(&Probe::new(1, 0), count)?;
    bed.b.wait_received(before + u64::from(count))?;
    Ok(before + u64::from(count))
}

case!(ports "attach::modes_of_ip_link", "", modes);
/// `ip link set dev ox1 xdp|xdpdrv|xdpgeneric obj ... sec xdp`, as users do.
fn modes(bed: &Bed) -> Result<()> {
    let object = bpf::path("xdp_drop")?;
    let object = object.display();
    let mut received = 0;
    let mut dropped = 0;

    bed.up()?;
    for (word, mode) in [
        ("xdp", XdpAttached::Driver),
        ("xdpdrv", XdpAttached::Driver),
        ("xdpgeneric", XdpAttached::SocketBuffer),
    ] {
        bed.b.ip_link_set(&format!("{word} obj {object} sec xdp"))?;
        let link = bed.b.link()?;
        let id = link
            .xdp_driver_id
            .or(link.xdp_generic_id)
            .ok_or_else(|| anyhow!("{word}: nothing attached"))?;
        expect_attached(&bed.b, mode, Some(id))?;

        received = send(bed, received, 3)?;
        if mode == XdpAttached::Driver {
            dropped += 3;
        }
        // Generic XDP does not involve the driver.
        bed.b
            .counters()?
            .expect_rx(word, &[("xdp_drop", dropped), ("packets", received)])?;

        bed.b.ip_link_set(&format!("{word} off"))?;
        expect_attached(&bed.b, XdpAttached::None, None)?;
        wait_freed(id)?;
    }
    Ok(())
}

case!(ports "attach::offload_is_refused", "", offload);
fn offload(bed: &Bed) -> Result<()> {
    let program = Program::sample("xdp_pass")?;
    let object = bpf::path("xdp_pass")?;

    bed.b
        .ip_link_set_refusal(&format!("xdpoffload obj {} sec xdp", object.display()))?;
    match bed.b.try_attach(Some(&program), XDP_FLAGS_HW_MODE, None)? {
        Err(refused) if matches!(refused.errno, Errno::EOPNOTSUPP | Errno::EINVAL) => {}
        result => bail!("offload: expected EOPNOTSUPP or EINVAL, found {result:?}"),
    }
    expect_attached(&bed.b, XdpAttached::None, None)
}

case!(ports "attach::only_if_none", "", only_if_none);
fn only_if_none(bed: &Bed) -> Result<()> {
    let (first, second) = (Program::sample("xdp_pass")?, Program::sample("xdp_drop")?);
    let flags = XDP_FLAGS_DRV_MODE | XDP_FLAGS_UPDATE_IF_NOEXIST;

    bed.b.try_attach(Some(&first), flags, None)??;
    bed.b
        .attach_refused(Some(&second), flags, None, Errno::EBUSY, "already attached")?;
    expect_attached(&bed.b, XdpAttached::Driver, Some(first.id))
}

case!(ports "attach::expected_program", "", expected_program);
fn expected_program(bed: &Bed) -> Result<()> {
    let (first, second) = (Program::sample("xdp_pass")?, Program::sample("xdp_drop")?);
    let flags = XDP_FLAGS_DRV_MODE | XDP_FLAGS_REPLACE;
    let mismatch = "does not match expected";

    bed.b.attach_refused(
        Some(&second),
        flags,
        Some(Some(&first)),
        Errno::EEXIST,
        mismatch,
    )?;
    expect_attached(&bed.b, XdpAttached::None, None)?;

    bed.b.try_attach(Some(&first), flags, Some(None))??;
    expect_attached(&bed.b, XdpAttached::Driver, Some(first.id))?;

    bed.b.attach_refused(
        Some(&second),
        flags,
        Some(Some(&second)),
        Errno::EEXIST,
        mismatch,
    )?;
    bed.b
        .attach_refused(Some(&second), flags, Some(None), Errno::EEXIST, mismatch)?;
    bed.b
        .attach_refused(None, flags, Some(Some(&second)), Errno::EEXIST, mismatch)?;
    expect_attached(&bed.b, XdpAttached::Driver, Some(first.id))?;

    bed.b
        .try_attach(Some(&second), flags, Some(Some(&first)))??;
    expect_attached(&bed.b, XdpAttached::Driver, Some(second.id))?;

    bed.b.try_attach(None, flags, Some(Some(&second)))??;
    expect_attached(&bed.b, XdpAttached::None, None)
}

case!(ports "attach::native_and_generic_exclude_each_other", "", native_and_generic);
fn native_and_generic(bed: &Bed) -> Result<()> {
    let (first, second) = (Program::sample("xdp_pass")?, Program::sample("xdp_drop")?);
    let reason = "Native and generic XDP can't be active at the same time";

    bed.b.attach(&first)?;
    bed.b.attach_refused(
        Some(&second),
        XDP_FLAGS_SKB_MODE,
        None,
        Errno::EEXIST,
        reason,
    )?;
    expect_attached(&bed.b, XdpAttached::Driver, Some(first.id))?;
    bed.b.detach()?;

    bed.b
        .try_attach(Some(&second), XDP_FLAGS_SKB_MODE, None)??;
    bed.b.attach_refused(
        Some(&first),
        XDP_FLAGS_DRV_MODE,
        None,
        Errno::EEXIST,
        reason,
    )?;
    expect_attached(&bed.b, XdpAttached::SocketBuffer, Some(second.id))
}

case!(ports "attach::bpf_link", "", bpf_link);
fn bpf_link(bed: &Bed) -> Result<()> {
    let mut first = Program::load("count", "count_drop")?;
    let mut second = Program::load("count", "count_pass")?;

    bed.up()?;
    let link = linked(&bed.b, &mut first)?;
    expect_attached(&bed.b, XdpAttached::Driver, Some(first.id))?;
    let received = send(bed, 0, 5)?;
    ensure_eq!(first.seen()?, 5, "frames the first program saw");

    // BPF_LINK_UPDATE; the link now belongs to the second program's object.
    let id = second.xdp()?.attach_to_link(link)?;
    expect_attached(&bed.b, XdpAttached::Driver, Some(second.id))?;
    let gone = first.id;
    let seen = first.seen()?;
    drop(first);
    wait_freed(gone)?;
    let received = send(bed, received, 7)?;
    ensure_eq!(seen, 5, "frames the first program saw in the end");
    ensure_eq!(second.seen()?, 7, "frames the second program saw");

    // Closing the last descriptor of a link detaches it, possibly a moment later.
    drop(second.xdp()?.take_link(id)?);
    wait_until("the closed link is detached", || {
        Ok(bed.b.link()?.xdp_mode == XdpAttached::None)
    })?;
    send(bed, received, 3)?;
    ensure_eq!(
        second.seen()?,
        7,
        "frames the second program saw in the end"
    );
    let gone = second.id;
    drop(second);
    wait_freed(gone)
}

case!(ports "attach::bpf_link_and_netlink_exclude_each_other", "", link_and_netlink);
fn link_and_netlink(bed: &Bed) -> Result<()> {
    let mut first = Program::sample("xdp_pass")?;
    let mut second = Program::sample("xdp_drop")?;

    let link = linked(&bed.b, &mut first)?;
    let reason = "Can't replace active BPF XDP link";
    bed.b.attach_refused(
        Some(&second),
        XDP_FLAGS_DRV_MODE,
        None,
        Errno::EBUSY,
        reason,
    )?;
    bed.b
        .attach_refused(None, XDP_FLAGS_DRV_MODE, None, Errno::EBUSY, reason)?;
    expect_attached(&bed.b, XdpAttached::Driver, Some(first.id))?;
    drop(link);
    wait_until("the closed link is detached", || {
        Ok(bed.b.link()?.xdp_mode == XdpAttached::None)
    })?;

    bed.b.attach(&first)?;
    ensure!(
        link_create(&bed.b, &mut second).is_err(),
        "a link replaced a program of netlink's"
    );
    expect_attached(&bed.b, XdpAttached::Driver, Some(first.id))
}

case!(ports "attach::bpf_link_and_mtu", "", link_and_mtu);
/// With an MTU that needs several buffers for a frame, a link for a program without support for
/// frags is refused.
fn link_and_mtu(bed: &Bed) -> Result<()> {
    let mut plain = Program::load("count", "count_pass")?;
    let mut frags = Program::load("count", "count_pass_frags")?;

    bed.b.set_mtu(JUMBO)?;
    ensure!(
        link_create(&bed.b, &mut plain).is_err(),
        "a link was made for a program without frags"
    );
    expect_attached(&bed.b, XdpAttached::None, None)?;
    let link = linked(&bed.b, &mut frags)?;
    expect_attached(&bed.b, XdpAttached::Driver, Some(frags.id))?;
    // That fails and closes the link.
    ensure!(
        plain.xdp()?.attach_to_link(link).is_err(),
        "a link was given to a program without frags"
    );
    wait_until("the closed link is detached", || {
        Ok(bed.b.link()?.xdp_mode == XdpAttached::None)
    })?;

    bed.b.set_mtu(1500)?;
    let link = linked(&bed.b, &mut plain)?;
    expect_attached(&bed.b, XdpAttached::Driver, Some(plain.id))?;
    let text = bed.b.ip_link_set_refusal(&format!("mtu {JUMBO}"))?;
    ensure!(
        text.contains("mtu greater than device maximum"),
        "mtu {JUMBO}: refused with \"{text}\""
    );
    drop(link);
    wait_until("the closed link is detached", || {
        Ok(bed.b.link()?.xdp_mode == XdpAttached::None)
    })?;
    bed.b.set_mtu(JUMBO)
}

case!(ports "attach::bpf_link_survives_rmmod", "", link_and_rmmod);
/// The module is unloaded while a link is held: the link loses its device but keeps its program.
fn link_and_rmmod(bed: &Bed) -> Result<()> {
    let mut program = Program::sample("xdp_pass")?;
    let id = program.id;

    bed.up()?;
    let link = linked(&bed.b, &mut program)?;
    send(bed, 0, 5)?;
    module::unload()?;
    ensure!(
        bpf::program_ids()?.contains(&id),
        "program {id} is gone although a link holds it"
    );
    drop(link);
    drop(program);
    wait_freed(id)
}

case!(ports "attach::while_down", "", while_down);
fn while_down(bed: &Bed) -> Result<()> {
    let first = Program::load("count", "count_drop")?;
    let second = Program::load("count", "count_pass")?;

    bed.b.attach(&first)?;
    bed.up()?;
    let received = send(bed, 0, 5)?;
    ensure_eq!(
        first.seen()?,
        5,
        "frames the program attached while down saw"
    );

    bed.b.down()?;
    bed.b.attach(&second)?;
    expect_attached(&bed.b, XdpAttached::Driver, Some(second.id))?;
    bed.up()?;
    let received = send(bed, received, 5)?;
    ensure_eq!(first.seen()?, 5, "frames the first program saw in the end");
    ensure_eq!(
        second.seen()?,
        5,
        "frames the program replaced while down saw"
    );

    bed.b.down()?;
    bed.up()?;
    let received = send(bed, received, 5)?;
    ensure_eq!(
        second.seen()?,
        10,
        "frames the program saw after down and up"
    );

    bed.b.down()?;
    bed.b.detach()?;
    bed.up()?;
    send(bed, received, 5)?;
    ensure_eq!(second.seen()?, 10, "frames the program saw in the end");
    bed.b
        .counters()?
        .expect_rx("B", &[("xdp_drop", 5), ("xdp_pass", 10), ("packets", 20)])
}

/// Attaches a program that only the port holds.
fn attach_and_forget(port: &Port) -> Result<u32> {
    let program = Program::sample("xdp_pass")?;

    port.attach(&program)?;
    Ok(program.id)
}

case!(ports "attach::rmmod_frees_the_program", "", rmmod_frees);
fn rmmod_frees(bed: &Bed) -> Result<()> {
    let down = attach_and_forget(&bed.a)?;
    let up = attach_and_forget(&bed.b)?;

    bed.b.up()?;
    for id in [down, up] {
        ensure!(
            bpf::program_ids()?.contains(&id),
            "program {id} is gone although attached"
        );
    }
    module::unload()?;
    wait_freed(down)?;
    wait_freed(up)
}

case!(ports "attach::netns_deletion_frees_the_program", "", netns_frees);
/// A port goes with its namespace, and its program with it.
fn netns_frees(bed: &Bed) -> Result<()> {
    let id = attach_and_forget(&bed.b)?;

    bed.up()?;
    bed.b.ns.delete()?;
    wait_freed(id)?;
    bed.a.wait_running(false)
}
