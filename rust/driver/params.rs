// SPDX-License-Identifier: GPL-2.0

//! Module parameters and their ranges.

use crate::{
    net::device,
    nic::{
        pause,
        switches::Switches, //
    },
};
use core::ffi::CStr;
use kernel::{
    fmt,
    str::BStr, //
};

/// Most pairs of ports.
const MAX_PAIRS: i64 = 64;

/// Most queues of a port: each must be able to wait for a full ring.
pub(crate) const MAX_QUEUES: u32 = pause::MAX_QUEUES;

/// Most queues that a port has by default.
const DEFAULT_MAX_QUEUES: i64 = 4;

/// Smallest and largest receive ring, and transmit ring of AF_XDP, in descriptors.
pub(crate) const RING_SIZES: core::ops::RangeInclusive<u32> = 64..=4096;

/// The valid sizes, for messages.
pub(crate) const RING_SIZES_TEXT: &str = "a power of two from 64 to 4096";

/// The module parameters, checked.
pub(crate) struct Params {
    /// Number of pairs of joined ports.
    pub(crate) pairs: usize,
    /// Number of receive queues, and of transmit queues, of a port.
    pub(crate) queues: u16,
    /// Descriptors of a receive ring.
    pub(crate) ring_size: u32,
    /// The switches of a port: none, or those of a personality.
    pub(crate) personality: Switches,
}

/// A parameter out of its range; displays as the line for the kernel log.
pub(crate) struct Refused {
    name: &'static str,
    value: i64,
    range: &'static str,
}

impl Params {
    /// Checks the parameters. Without `queues` it is the number of CPUs that are online, up to
    /// four.
    pub(crate) fn new(pairs: i64, queues: Option<i64>, ring_size: i64) -> Result<Self, Refused> {
        let refused = |name, value, range| Refused { name, value, range };
        let queues = queues.unwrap_or(i64::from(device::online_cpus()).min(DEFAULT_MAX_QUEUES));

        if !(0..=MAX_PAIRS).contains(&pairs) {
            return Err(refused("pairs", pairs, "0 to 64"));
        }
        if !(1..=MAX_QUEUES.into()).contains(&queues) {
            return Err(refused("queues", queues, "1 to 64"));
        }
        let size = u32::try_from(ring_size).unwrap_or(0);
        if !RING_SIZES.contains(&size) || !size.is_power_of_two() {
            return Err(refused("ring_size", ring_size, RING_SIZES_TEXT));
        }
        // In range, so nothing is cut off.
        Ok(Self {
            pairs: pairs as usize,
            queues: queues as u16,
            ring_size: size,
            personality: Switches::NONE,
        })
    }
}

impl Params {
    /// The same for ports with the personality of this name. Returns the name if there is none.
    pub(crate) fn with_personality(self, name: Option<&CStr>) -> Result<Self, &BStr> {
        let Some(name) = name else { return Ok(self) };
        match Switches::of_personality(name.to_bytes()) {
            Some(personality) => Ok(Self {
                personality,
                ..self
            }),
            None => Err(BStr::from_bytes(name.to_bytes())),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, range } = self;
        write!(f, "{name}={value}: must be {range}")
    }
}
