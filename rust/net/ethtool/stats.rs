// SPDX-License-Identifier: GPL-2.0

//! Statistics by name (`ethtool -S`), and the names of other sets.

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
        match set as u32 {
            // SAFETY: The kernel calls this for a device of ours.
            bindings::ethtool_stringset_ETH_SS_STATS => unsafe { with_stats::<T>(dev).1 as c_int },
            bindings::ethtool_stringset_ETH_SS_PRIV_FLAGS if T::HAS_PRIV_FLAGS => {
                T::PRIV_FLAG_NAMES.len() as c_int
            }
            _ => EOPNOTSUPP.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Called by the kernel as `get_strings`, for a device of `Allocated<T>`.
    pub(super) unsafe extern "C" fn strings(
        dev: *mut bindings::net_device,
        set: u32,
        buffer: *mut u8,
    ) {
        // SAFETY: The kernel calls this for a device of ours.
        let (data, n_stats) = unsafe { with_stats::<T>(dev) };
        let count = match set {
            bindings::ethtool_stringset_ETH_SS_STATS => n_stats,
            bindings::ethtool_stringset_ETH_SS_PRIV_FLAGS => T::PRIV_FLAG_NAMES.len(),
            _ => return,
        };
        // SAFETY: The kernel has room for as many names as `sset_count` said.
        let buffer = unsafe { slice::from_raw_parts_mut(buffer, count * NAME_LEN) };
        let mut names = Names(buffer.chunks_exact_mut(NAME_LEN));
        if set == bindings::ethtool_stringset_ETH_SS_STATS {
            data.stats(&mut names);
        } else {
            for name in T::PRIV_FLAG_NAMES {
                names.visit(fmt!("{name}"), 0);
            }
        }
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
