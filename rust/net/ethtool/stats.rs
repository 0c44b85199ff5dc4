// SPDX-License-Identifier: GPL-2.0

//! Statistics by name (`ethtool -S`).

use super::{
    ops::Ops,
    settings::Visitor,
    table::EthtoolOps, //
};
use crate::{
    bindings,
    compat::EOPNOTSUPP,
    net::{
        device::private::with_stats,
        text::Cut, //
    },
};
use core::slice;
use kernel::{
    fmt::{
        self,
        Write, //
    },
    prelude::*, //
};

/// Length of a statistic's name with its NUL (`ETH_GSTRING_LEN`).
const NAME_LEN: usize = bindings::ETH_GSTRING_LEN as usize;

/// Number of statistics.
pub(in crate::net) fn count_stats<T: Ops>(data: &T) -> usize {
    struct Count(usize);

    impl Visitor for Count {
        fn visit(&mut self, _name: fmt::Arguments<'_>, _value: u64) {
            self.0 += 1;
        }
    }

    let mut count = Count(0);
    data.stats(&mut count);
    count.0
}

/// Writes the names to the buffer, [`NAME_LEN`] bytes for each.
struct Names<'a>(slice::ChunksExactMut<'a, u8>);

impl Visitor for Names<'_> {
    fn visit(&mut self, name: fmt::Arguments<'_>, _value: u64) {
        if let Some(place) = self.0.next() {
            place.fill(0);
            // The last byte stays NUL; a longer name is truncated.
            let mut cell = Cut(place.get_mut(..NAME_LEN - 1).unwrap_or_default());
            let _ = cell.write_fmt(name);
        }
    }
}

/// Writes the values to the buffer.
struct Values<'a>(slice::IterMut<'a, u64>);

impl Visitor for Values<'_> {
    fn visit(&mut self, _name: fmt::Arguments<'_>, value: u64) {
        if let Some(place) = self.0.next() {
            *place = value;
        }
    }
}

impl<T: Ops> EthtoolOps<T> {
    /// # Safety
    ///
    /// Called by the kernel as `get_sset_count`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn sset_count(
        dev: *mut bindings::net_device,
        set: c_int,
    ) -> c_int {
        if set as u32 != bindings::ethtool_stringset_ETH_SS_STATS {
            return EOPNOTSUPP.to_errno();
        }
        // SAFETY: The kernel calls this for a device of ours.
        unsafe { with_stats::<T>(dev).1 as c_int }
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_strings`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn strings(
        dev: *mut bindings::net_device,
        set: u32,
        buffer: *mut u8,
    ) {
        if set != bindings::ethtool_stringset_ETH_SS_STATS {
            return;
        }
        // SAFETY: The kernel calls this for a device of ours, with room for as many names as
        // `sset_count` said.
        let (data, buffer) = unsafe {
            let (data, n_stats) = with_stats::<T>(dev);
            (data, slice::from_raw_parts_mut(buffer, n_stats * NAME_LEN))
        };
        data.stats(&mut Names(buffer.chunks_exact_mut(NAME_LEN)));
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_ethtool_stats`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn stats(
        dev: *mut bindings::net_device,
        _stats: *mut bindings::ethtool_stats,
        buffer: *mut u64,
    ) {
        // SAFETY: The kernel calls this for a device of ours, with room for as many values as
        // `sset_count` said.
        let (data, buffer) = unsafe {
            let (data, n_stats) = with_stats::<T>(dev);
            (data, slice::from_raw_parts_mut(buffer, n_stats))
        };
        data.stats(&mut Values(buffer.iter_mut()));
    }
}
