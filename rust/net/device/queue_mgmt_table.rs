// SPDX-License-Identifier: GPL-2.0

//! The queue management callbacks of a driver, as its other callbacks refer to them.

use crate::bindings;
use core::marker::PhantomData;

/// The table of C callbacks for devices of driver `T`; see [`queue_mgmt::Ops`].
///
/// [`queue_mgmt::Ops`]: crate::net::queue_mgmt::Ops
pub(crate) struct Table<T> {
    ops: &'static bindings::netdev_queue_mgmt_ops,
    _driver: PhantomData<fn() -> T>,
}

impl<T> Table<T> {
    /// # Safety
    ///
    /// The callbacks must be for devices whose driver's data is a `T`.
    pub(in crate::net) const unsafe fn new(ops: &'static bindings::netdev_queue_mgmt_ops) -> Self {
        Self {
            ops,
            _driver: PhantomData,
        }
    }

    pub(super) fn as_ptr(&self) -> *const bindings::netdev_queue_mgmt_ops {
        self.ops
    }
}
