// SPDX-License-Identifier: GPL-2.0

//! Whether frames can be redirected to a device.

use crate::compat::ENETDOWN;
use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use kernel::prelude::*;

/// Whether frames can be redirected to a device: always while the interface is up, if no switch
/// says otherwise. Read for every batch of frames, as a single word.
#[derive(Default)]
pub(crate) struct XmitGate(AtomicU32);

impl XmitGate {
    /// The interface is up.
    pub(super) const UP: u32 = 1 << 0;
    /// There is no program, and one is needed.
    pub(super) const NO_PROG: u32 = 1 << 1;
    /// Only CPUs with a queue of the same number can send.
    pub(super) const QUEUE_PER_CPU: u32 = 1 << 2;

    /// Sets all of these bits. Returns those that have changed.
    pub(super) fn set(&self, state: u32) -> u32 {
        self.0.swap(state, Ordering::Relaxed) ^ state
    }

    /// Whether any CPU can send.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::UP
    }

    /// Whether this CPU can, with this many queues.
    #[cold]
    pub(super) fn check(&self, cpu: usize, queues: usize) -> Result {
        let state = self.0.load(Ordering::Relaxed);
        if state & Self::UP == 0 {
            return Err(ENETDOWN);
        }
        let no_queue = state & Self::QUEUE_PER_CPU != 0 && cpu >= queues;
        if no_queue || state & Self::NO_PROG != 0 {
            return Err(ENXIO);
        }
        Ok(())
    }
}
