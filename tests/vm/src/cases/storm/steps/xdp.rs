// SPDX-License-Identifier: GPL-2.0

//! Programs.

use crate::{
    cases::storm::{
        program::{Attached, Choice, Mode, GENERIC, STORM_PROGRAMS},
        state::Storm,
    },
    host::wait_until,
    nl::link::{
        XDP_FLAGS_DRV_MODE, XDP_FLAGS_REPLACE, XDP_FLAGS_SKB_MODE, XDP_FLAGS_UPDATE_IF_NOEXIST,
    },
};
use anyhow::{bail, ensure, Result};
use aya::programs::XdpFlags;
use nix::errno::Errno;

/// Why a program is refused.
type Refusal = Option<(Errno, &'static str)>;

const LINKED: (Errno, &str) = (Errno::EBUSY, "Can't replace active BPF XDP link");
const FRAGS: (Errno, &str) = (Errno::EOPNOTSUPP, "so the MTU may be at most");

fn flag(mode: Mode) -> u32 {
    match mode {
        Mode::Driver => XDP_FLAGS_DRV_MODE,
        Mode::Generic => XDP_FLAGS_SKB_MODE,
    }
}

/// A condition for attaching.
#[derive(Clone, Copy, Debug)]
enum Condition {
    Always,
    IfNone,
    /// Only if this program is attached.
    Instead(Option<Choice>),
}

/// A random program for a port; the one that is bound to the port is loaded when it is first used.
fn any(storm: &mut Storm<'_>, n: usize) -> Result<Choice> {
    let choice = match storm.random.below(STORM_PROGRAMS as u32 + 1) as usize {
        STORM_PROGRAMS => Choice::Bound,
        number => Choice::Storm(number),
    };

    if choice == Choice::Bound {
        let state = &mut storm.ports[n];
        state.programs.bind(&state.port)?;
    }
    Ok(choice)
}

/// By netlink, with all kinds of flags.
pub fn attach(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let choice = any(storm, n)?;
    let mode = match choice {
        Choice::Bound if storm.random.below(4) == 0 => Mode::Generic,
        _ => choice.mode(),
    };
    let current = storm.ports[n].model.attached_as(mode).map(|a| a.choice);
    let condition = match storm.random.below(6) {
        0 => Condition::IfNone,
        1 => Condition::Instead(current),
        2 => Condition::Instead(Some(Choice::Storm(
            storm.random.below(STORM_PROGRAMS as u32) as usize,
        ))),
        _ => Condition::Always,
    };

    set(storm, n, Some(choice), mode, condition)
}

/// By netlink.
pub fn detach(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let mode = storm
        .random
        .pick(&[Mode::Driver, Mode::Driver, Mode::Generic]);

    set(storm, n, None, mode, Condition::Always)
}

/// Why the kernel must refuse it, in the order of its checks.
fn refusal(
    storm: &Storm<'_>,
    n: usize,
    new: Option<Choice>,
    mode: Mode,
    condition: Condition,
) -> Refusal {
    let model = &storm.ports[n].model;
    let current = model.attached_as(mode);

    if current.is_some_and(|a| a.link.is_some()) {
        return Some(LINKED);
    }
    let current = current.map(|a| a.choice);
    if matches!(condition, Condition::Instead(expected) if expected != current) {
        return Some((Errno::EEXIST, "Active program does not match expected"));
    }
    let new = new?;
    if matches!(condition, Condition::IfNone) && current.is_some() {
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
    (mode == Mode::Driver && Some(new) != current && !model.accepts(new)).then_some(FRAGS)
}

fn set(
    storm: &mut Storm<'_>,
    n: usize,
    choice: Option<Choice>,
    mode: Mode,
    condition: Condition,
) -> Result<()> {
    let expected = refusal(storm, n, choice, mode, condition);

    storm.log(format!(
        "ox{n}: xdp {mode:?}: {choice:?} {condition:?}{}",
        refusal_text(expected)
    ));
    let state = &mut storm.ports[n];
    let fd = |choice: Option<Choice>| match choice {
        Some(choice) => state.programs.fd(choice),
        None => Ok(None),
    };
    let (more, old) = match condition {
        Condition::Always => (0, None),
        Condition::IfNone => (XDP_FLAGS_UPDATE_IF_NOEXIST, None),
        Condition::Instead(old) => (XDP_FLAGS_REPLACE, Some(fd(old)?)),
    };
    let done = state
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
    let model = &mut state.model;
    if choice.is_some() || model.attached_as(mode).is_some() {
        model.attached = choice.map(|choice| Attached { choice, link: None });
    }
    Ok(())
}

fn refusal_text(refusal: Refusal) -> String {
    refusal.map_or(String::new(), |(errno, reason)| {
        format!(" (not allowed: {errno:?}, {reason})")
    })
}

/// `BPF_LINK_CREATE`.
pub fn create_link(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let number = storm.random.below(GENERIC as u32) as usize;
    let choice = Choice::Storm(number);
    let model = &storm.ports[n].model;
    let allowed = model.attached.is_none() && model.accepts(choice);

    storm.log(format!(
        "ox{n}: BPF_LINK_CREATE {choice:?}{}",
        if allowed { "" } else { " (not allowed)" }
    ));
    let state = &mut storm.ports[n];
    let (port, program) = (&state.port, state.programs.storm[number].program_mut());
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
        state.model.attached = Some(Attached {
            choice,
            link: Some(link),
        });
    }
    Ok(())
}

/// Waits until the program of a closed link is detached, which can be a moment later.
fn wait_detached(storm: &Storm<'_>, n: usize) -> Result<()> {
    wait_until("the closed link is detached", || {
        Ok(storm.ports[n].port.link()?.xdp_driver_id.is_none())
    })
}

/// `BPF_LINK_UPDATE`. When it is refused, aya closes the link.
pub fn update_link(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let number = storm.random.below(GENERIC as u32) as usize;
    let choice = Choice::Storm(number);
    let model = &mut storm.ports[n].model;
    let takes = model.accepts(choice);
    let Some((old, link)) = model
        .attached
        .as_mut()
        .and_then(|a| Some((a.choice, a.link.take()?)))
    else {
        return Ok(());
    };
    // With the same program, the kernel does not ask the driver.
    let allowed = takes || old == choice;

    storm.log(format!(
        "ox{n}: BPF_LINK_UPDATE {choice:?}{}",
        if allowed { "" } else { " (not allowed)" }
    ));
    let state = &mut storm.ports[n];
    let xdp = state.programs.storm[number].program_mut().xdp()?;
    let updated = xdp.attach_to_link(link);
    ensure!(updated.is_ok() == allowed, "updated: {}", updated.is_ok());
    match updated {
        Ok(id) => {
            state.model.attached = Some(Attached {
                choice,
                link: Some(xdp.take_link(id)?),
            });
            Ok(())
        }
        Err(_) => {
            state.model.attached = None;
            wait_detached(storm, n)
        }
    }
}

/// Closing the last descriptor of a link detaches its program.
pub fn close_link(storm: &mut Storm<'_>, n: usize) -> Result<()> {
    let model = &mut storm.ports[n].model;

    if model.attached.as_ref().is_some_and(|a| a.link.is_some()) {
        storm.log(format!("ox{n}: the BPF link is closed"));
        storm.ports[n].model.attached = None;
        wait_detached(storm, n)?;
    }
    Ok(())
}

/// The programs on devmap entries drop none of the frames, some, those that are handed over last,
/// or all.
pub fn drop_redirected(storm: &mut Storm<'_>, _: usize) -> Result<()> {
    let which = storm.random.pick(&[0, 1, 2, 2, 3, 3, 4, 5]);

    storm.drop_redirected(which)
}
