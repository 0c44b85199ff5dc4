// SPDX-License-Identifier: GPL-2.0

//! What the card does with an interrupt line when it has published descriptors.

#![allow(unreachable_pub, reason = "a part of each test")]

use oxnic::nic::irq::{
    Irq,
    Moderation,
    Raised, //
};

/// Tells the line that `new` descriptors are published, and raises the interrupt if it must.
pub fn publish(
    irq: &Irq,
    moderation: &mut Moderation,
    new: u32,
    max_waiting: u32,
    now: impl FnOnce() -> u64,
) -> Raised {
    if irq.published(moderation, new, max_waiting) {
        irq.raise(moderation, max_waiting, now)
    } else {
        Raised::Nothing
    }
}
