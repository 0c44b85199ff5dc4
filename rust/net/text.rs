// SPDX-License-Identifier: GPL-2.0

//! Text in buffers of a fixed length.

use kernel::fmt;

/// Writes text into a buffer as far as it fits.
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
