// SPDX-License-Identifier: GPL-2.0

//! The receive filter: which frames a port accepts from the wire.
//!
//! A frame is accepted by its destination: the port's own address, broadcast, or a listed address.
//! The fast path is a single comparison, which accepts frames to the port's own address, and all
//! frames in promiscuous mode. Like the registers of [`steering`](super::steering), a filter is
//! replaced as a whole, so that no frame is filtered by half of a change.

use super::{
    headers::ETH_LEN,
    storage::Zeroable,
    vlan::{
        Protocol,
        Tag, //
    },
    wire::TxFrame,
};

/// Largest number of listed unicast addresses, in addition to the port's own.
pub const UNICAST_LEN: usize = 64;

/// Largest number of listed multicast addresses.
pub const MULTICAST_LEN: usize = 128;

/// A MAC address as it is in a frame.
pub type Address = [u8; 6];

/// Number of VLAN ids.
const VLAN_IDS: usize = 1 << 12;

/// Why a frame is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotForUs {
    /// Its destination is neither the port's own address nor one that is listed.
    Address,
    /// Its tag has a VLAN id that is not listed.
    Vlan,
}

/// Frames that are accepted in addition to the listed ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Every frame, of any VLAN (`IFF_PROMISC`).
    pub promiscuous: bool,
    /// Every multicast frame (`IFF_ALLMULTI`).
    pub all_multicast: bool,
}

/// Which lists have overflowed: all frames of that kind are accepted then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflow {
    /// More than [`UNICAST_LEN`] addresses.
    pub unicast: bool,
    /// More than [`MULTICAST_LEN`] addresses.
    pub multicast: bool,
}

/// A filter. All bytes zero accepts every frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// A frame is accepted at once if the [`key`] of its destination equals `fast_key` in the bits
    /// of `fast_mask`.
    fast_key: u64,
    fast_mask: u64,
    own: u64,
    mode: Mode,
    unicast: List<UNICAST_LEN>,
    multicast: List<MULTICAST_LEN>,
    filters_vlans: bool,
    vlans: [u64; VLAN_IDS / 64],
}

// SAFETY: The fields are integers, `bool`s and arrays of these.
unsafe impl Zeroable for Filter {}

impl Filter {
    /// Accepts every frame.
    pub const ALL: Self = Self {
        fast_key: 0,
        fast_mask: 0,
        own: 0,
        mode: Mode {
            promiscuous: false,
            all_multicast: false,
        },
        unicast: List::EMPTY,
        multicast: List::EMPTY,
        filters_vlans: false,
        vlans: [0; VLAN_IDS / 64],
    };

    /// Sets the port's own address. From then on the filter may reject frames.
    pub fn set_own(&mut self, address: Address) {
        self.own = key(address);
        self.set_fast_path();
    }

    /// Sets what is accepted in addition to the port's own address and broadcast.
    pub fn set_mode(&mut self, mode: Mode, listed: impl IntoIterator<Item = Address>) {
        self.mode = mode;
        self.unicast.clear();
        self.multicast.clear();
        for key in listed.into_iter().map(key) {
            if key & GROUP != 0 {
                self.multicast.add(key);
            } else {
                self.unicast.add(key);
            }
        }
        self.set_fast_path();
    }

    /// Which lists have overflowed.
    pub fn overflow(&self) -> Overflow {
        Overflow {
            unicast: self.unicast.overflow,
            multicast: self.multicast.overflow,
        }
    }

    /// Sets whether a frame with an 802.1Q tag is accepted only if its VLAN id is listed.
    pub fn set_filters_vlans(&mut self, on: bool) {
        self.filters_vlans = on;
        self.set_fast_path();
    }

    /// Lists a VLAN id, or removes it. Id 0 is always accepted: it is the id of no VLAN.
    pub fn set_vlan(&mut self, id: u16, listed: bool) {
        let (word, bit) = vlan_bit(id);
        if let Some(word) = self.vlans.get_mut(word) {
            if listed {
                *word |= bit;
            } else {
                *word &= !bit;
            }
        }
    }

    fn set_fast_path(&mut self) {
        // No key has bit 0 set: if VLANs are filtered, no frame takes the fast path.
        self.fast_key = self.own | u64::from(self.filters_vlans);
        self.fast_mask = if self.mode.promiscuous { 0 } else { u64::MAX };
    }

    /// Whether a frame is accepted.
    #[inline]
    pub fn check(&self, frame: &impl TxFrame) -> Result<(), NotForUs> {
        // The wire refuses shorter frames.
        let header = frame.start().first_chunk::<ETH_LEN>();
        let Some(first) = header.and_then(|header| header.first_chunk()) else {
            return Ok(());
        };
        let key = key_of_first(*first);
        if (key ^ self.fast_key) & self.fast_mask == 0 {
            return Ok(());
        }
        self.look_up(key, frame)
    }

    #[cold]
    fn look_up(&self, key: u64, frame: &impl TxFrame) -> Result<(), NotForUs> {
        let listed = if key == self.own || key == BROADCAST {
            true
        } else if key & GROUP != 0 {
            self.mode.all_multicast || self.multicast.has(key)
        } else {
            self.unicast.has(key)
        };
        if !listed {
            return Err(NotForUs::Address);
        }
        if self.filters_vlans {
            match frame.tag().or_else(|| Tag::outermost(&frame.head())) {
                Some(tag) if !self.has_vlan(tag) => return Err(NotForUs::Vlan),
                _ => {}
            }
        }
        Ok(())
    }

    fn has_vlan(&self, tag: Tag) -> bool {
        let (word, bit) = vlan_bit(tag.id());
        tag.protocol != Protocol::Customer
            || tag.id() == 0
            || self.vlans.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// An address as an integer, for comparisons: its bytes from bit 16 on.
const fn key(address: Address) -> u64 {
    let [a, b, c, d, e, f] = address;
    key_of_first([a, b, c, d, e, f, 0, 0])
}

/// The key of a frame's destination, from the frame's first bytes.
#[inline]
const fn key_of_first(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes) << 16
}

const BROADCAST: u64 = key([0xff; 6]);

/// The bit that is set in multicast addresses.
const GROUP: u64 = key([1, 0, 0, 0, 0, 0]);

/// The word of a VLAN id in the table, and its bit there.
const fn vlan_bit(id: u16) -> (usize, u64) {
    (id as usize / 64, 1 << (id % 64))
}

/// A sorted list of addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
struct List<const N: usize> {
    len: usize,
    /// The first `len` of them are used, in ascending order.
    keys: [u64; N],
    /// Whether there were more than `N`.
    overflow: bool,
}

impl<const N: usize> List<N> {
    const EMPTY: Self = Self {
        len: 0,
        keys: [0; N],
        overflow: false,
    };

    fn clear(&mut self) {
        self.len = 0;
        self.overflow = false;
    }

    fn add(&mut self, key: u64) {
        let Err(at) = self.used().binary_search(&key) else {
            return;
        };
        let Some([place, others @ ..]) = self.keys.get_mut(at..=self.len) else {
            self.overflow = true;
            return;
        };
        // Each of the others moves up by one.
        let mut moved = core::mem::replace(place, key);
        for other in others {
            moved = core::mem::replace(other, moved);
        }
        self.len += 1;
    }

    fn has(&self, key: u64) -> bool {
        self.overflow || self.used().binary_search(&key).is_ok()
    }

    fn used(&self) -> &[u64] {
        self.keys.get(..self.len).unwrap_or(&self.keys)
    }
}
