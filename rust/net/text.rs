// SPDX-License-Identifier: GPL-2.0

//! Formatting text into fixed buffers.

use kernel::fmt;

/// A buffer to format text into. What does not fit is dropped.
pub(super) struct Cut<'a>(pub(super) &'a mut [u8]);

impl fmt::Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = core::mem::take(&mut self.0);
        let len = text.len().min(room.len());
        let (now, later) = room.split_at_mut(len);
        now.copy_from_slice(&text.as_bytes()[..len]);
        self.0 = later;
        Ok(())
    }
}
