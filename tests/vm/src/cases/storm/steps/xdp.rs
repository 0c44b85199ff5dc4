// SPDX-License-Identifier: GPL-2.0

//! Programs and AF_XDP sockets.

use crate::{
    cases::storm::{
        program::{Attached, Choice, Mode, GENERIC, SWIRLS},
        world::World,
    },
    host::wait_until,
    nl::link::{
        XDP_FLAGS_DRV_MODE, XDP_FLAGS_REPLACE, XDP_FLAGS_SKB_MODE, XDP_FLAGS_UPDATE_IF_NOEXIST,
    },
    wire::xsk::Xsk,
};
use anyhow::{bail, ensure, Context, Result};
use aya::programs::XdpFlags;
use nix::errno::Errno;

/// Why a program is refused.
type Refusal = Option<(Errno, &'static str)>;

const LINKED: (Errno, &str) = (Errno::EBUSY, "Can't replace active BPF XDP link");
const FRAGS: (Errno, &str) = (Errno::EOPNOTSUPP, "the program has no frags support");

fn flag(mode: Mode) -> u32 {
    match mode {
        Mode::Driver => XDP_FLAGS_DRV_MODE,
        Mode::Generic => XDP_FLAGS_SKB_MODE,
    }
}

/// A condition for attaching.
#[derive(Clone, Copy, Debug)]
enum Only {
    Always,
    IfNone,
    /// If this one is attached.
    Instead(Option<Choice>),
}

/// Any of a port's programs; the one that is bound to it is loaded when it is first wanted.
fn any(world: &mut World<'_>, n: usize) -> Result<Choice> {
    let choice = match world.random.below(SWIRLS as u32 + 1) as usize {
        SWIRLS => Choice::Bound,
        swirl => Choice::Swirl(swirl),
    };

    if choice == Choice::Bound {
        let card = &mut world.cards[n];
        card.programs.bind(&card.port)?;
    }
    Ok(choice)
}

/// By netlink, with all kinds of flags.
pub fn attach(world: &mut World<'_>, n: usize) -> Result<()> {
    let choice = any(world, n)?;
    let mode = match choice {
        Choice::Bound if world.random.below(4) == 0 => Mode::Generic,
        _ => choice.mode(),
    };
    let current = world.cards[n].model.attached_as(mode).map(|a| a.choice);
    let only = match world.random.below(6) {
        0 => Only::IfNone,
        1 => Only::Instead(current),
        2 => Only::Instead(Some(Choice::Swirl(
            world.random.below(SWIRLS as u32) as usize
        ))),
        _ => Only::Always,
    };

    set(world, n, Some(choice), mode, only)
}

/// By netlink.
pub fn detach(world: &mut World<'_>, n: usize) -> Result<()> {
    let mode = world
        .random
        .pick(&[Mode::Driver, Mode::Driver, Mode::Generic]);

    set(world, n, None, mode, Only::Always)
}

/// In the order in which the kernel looks at it.
fn refusal(world: &World<'_>, n: usize, new: Option<Choice>, mode: Mode, only: Only) -> Refusal {
    let model = &world.cards[n].model;
    let current = model.attached_as(mode);

    if current.is_some_and(|a| a.link.is_some()) {
        return Some(LINKED);
    }
    let current = current.map(|a| a.choice);
    if matches!(only, Only::Instead(expected) if expected != current) {
        return Some((Errno::EEXIST, "Active program does not match expected"));
    }
    let new = new?;
    if matches!(only, Only::IfNone) && current.is_some() {
        return Some((Errno::EBUSY, "XDP program already attached"));
    }
    if model
        .attached
        .as_ref()
        .is_some_and(|a| a.choice.mode() != mode)
    {
        return Some((
            Errno::EEXIST,
            "Native and generic XDP can't be active at the same time",
        ));
    }
    if new == Choice::Bound && mode == Mode::Generic {
        return Some((
            Errno::EINVAL,
            "Can't attach device-bound programs in generic mode",
        ));
    }
    (mode == Mode::Driver && Some(new) != current && !model.takes(new)).then_some(FRAGS)
}

fn set(
    world: &mut World<'_>,
    n: usize,
    choice: Option<Choice>,
    mode: Mode,
    only: Only,
) -> Result<()> {
    let expected = refusal(world, n, choice, mode, only);

    world.log(format!(
        "ox{n}: xdp {mode:?}: {choice:?} {only:?}{}",
        because(expected)
    ));
    let card = &mut world.cards[n];
    let fd = |choice: Option<Choice>| match choice {
        Some(choice) => card.programs.fd(choice),
        None => Ok(None),
    };
    let (more, old) = match only {
        Only::Always => (0, None),
        Only::IfNone => (XDP_FLAGS_UPDATE_IF_NOEXIST, None),
        Only::Instead(old) => (XDP_FLAGS_REPLACE, Some(fd(old)?)),
    };
    let done = card
        .port
        .try_attach_fd(fd(choice)?, flag(mode) | more, old)?;

    match (done, expected) {
        (Ok(()), None) => {}
        (Err(refused), Some((errno, reason)))
            if refused.errno == errno && refused.reason.contains(reason) =>
        {
            return Ok(())
        }
        (Err(refused), _) => bail!("{refused}"),
        (Ok(()), Some(_)) => bail!("it was not refused"),
    }
    let model = &mut card.model;
    if choice.is_some() || model.attached_as(mode).is_some() {
        model.attached = choice.map(|choice| Attached { choice, link: None });
    }
    Ok(())
}

fn because(refusal: Refusal) -> String {
    refusal.map_or(String::new(), |(errno, reason)| {
        format!(" (not allowed: {errno:?}, {reason})")
    })
}

/// `BPF_LINK_CREATE`.
pub fn create_link(world: &mut World<'_>, n: usize) -> Result<()> {
    let swirl = world.random.below(GENERIC as u32) as usize;
    let choice = Choice::Swirl(swirl);
    let model = &world.cards[n].model;
    let allowed = model.attached.is_none() && model.takes(choice);

    world.log(format!(
        "ox{n}: BPF_LINK_CREATE {choice:?}{}",
        if allowed { "" } else { " (not allowed)" }
    ));
    let card = &mut world.cards[n];
    let (port, program) = (&card.port, card.programs.swirls[swirl].program_mut());
    let mut made = None;
    port.ns.enter(|| {
        let xdp = program.xdp()?;

        if let Ok(id) = xdp.attach_to_if_index(port.ifindex, XdpFlags::DRV_MODE) {
            made = Some(xdp.take_link(id)?);
        }
        Ok(())
    })?;
    ensure!(made.is_some() == allowed, "made: {}", made.is_some());
    if let Some(link) = made {
        card.model.attached = Some(Attached {
            choice,
            link: Some(link),
        });
    }
    Ok(())
}

/// Waits until what a link has closed is gone: that can be a moment later.
fn wait_detached(world: &World<'_>, n: usize) -> Result<()> {
    wait_until("the closed link is detached", || {
        Ok(world.cards[n].port.link()?.xdp_driver_id.is_none())
    })
}

/// `BPF_LINK_UPDATE`. When it is refused, aya closes the link.
pub fn update_link(world: &mut World<'_>, n: usize) -> Result<()> {
    let swirl = world.random.below(GENERIC as u32) as usize;
    let choice = Choice::Swirl(swirl);
    let model = &mut world.cards[n].model;
    let takes = model.takes(choice);
    let Some((old, link)) = model
        .attached
        .as_mut()
        .and_then(|a| Some((a.choice, a.link.take()?)))
    else {
        return Ok(());
    };
    // With the same program nobody is asked.
    let allowed = takes || old == choice;

    world.log(format!(
        "ox{n}: BPF_LINK_UPDATE {choice:?}{}",
        if allowed { "" } else { " (not allowed)" }
    ));
    let card = &mut world.cards[n];
    let xdp = card.programs.swirls[swirl].program_mut().xdp()?;
    let updated = xdp.attach_to_link(link);
    ensure!(updated.is_ok() == allowed, "updated: {}", updated.is_ok());
    match updated {
        Ok(id) => {
            card.model.attached = Some(Attached {
                choice,
                link: Some(xdp.take_link(id)?),
            });
            Ok(())
        }
        Err(_) => {
            card.model.attached = None;
            wait_detached(world, n)
        }
    }
}

/// Closing the last descriptor of a link detaches its program.
pub fn close_link(world: &mut World<'_>, n: usize) -> Result<()> {
    let model = &mut world.cards[n].model;

    if model.attached.as_ref().is_some_and(|a| a.link.is_some()) {
        world.log(format!("ox{n}: the BPF link is closed"));
        world.cards[n].model.attached = None;
        wait_detached(world, n)?;
    }
    Ok(())
}

/// Binds an AF_XDP socket to a queue.
pub fn open_socket(world: &mut World<'_>, n: usize) -> Result<()> {
    let queue = world.random.below(world.cards[n].model.queues);
    let chunk = world.random.pick(&[2048, 4096]);

    if world.cards[n].sockets.contains_key(&queue) {
        return Ok(());
    }
    world.log(format!(
        "ox{n}: AF_XDP socket at queue {queue}, chunks of {chunk}"
    ));
    let card = &mut world.cards[n];
    let socket = Xsk::open(&card.port, queue, chunk, false)?;
    for swirl in &mut card.programs.swirls {
        swirl.socket(queue, &socket)?;
    }
    card.sockets.insert(queue, socket);
    Ok(())
}

/// Closes one.
pub fn close_socket(world: &mut World<'_>, n: usize) -> Result<()> {
    world.drain_sockets(n).context("frames in a socket")?;
    let queue = world.random.below(world.cards[n].model.max_queues);

    if world.cards[n].sockets.contains_key(&queue) {
        world.log(format!(
            "ox{n}: the AF_XDP socket at queue {queue} is closed"
        ));
        world.cards[n].sockets.remove(&queue);
    }
    Ok(())
}

/// Programs on the entries of devmaps drop some of the frames, all of those that are handed over last, or
/// each of them.
pub fn drop_redirected(world: &mut World<'_>, _: usize) -> Result<()> {
    let which = world.random.pick(&[0, 1, 2, 2, 3, 3, 4, 5]);

    world.drop_redirected(which)
}
