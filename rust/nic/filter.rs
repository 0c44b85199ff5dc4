// SPDX-License-Identifier: GPL-2.0

//! The receive filter: which frames a port takes from the wire at all.
//!
//! A frame is let in by its destination: the port's own address, broadcast, and what is listed
//! beside these. What goes by the port's own address is told from the rest by one comparison, and so
//! is every frame in promiscuous mode. Like the registers of [`steering`](super::steering) a filter is
//! exchanged as a whole, so that no frame meets half of a change.

use super::{
    vlan::{Protocol, Tag},
    wire::{Frame, HEADER_LEN},
};

/// How many unicast addresses can be listed beside the port's own.
pub const UNICAST_LEN: usize = 64;

/// How many multicast addresses can be listed.
pub const MULTICAST_LEN: usize = 128;

/// A MAC address as it is in a frame.
pub type Address = [u8; 6];

/// How many VLAN ids there are.
const VLAN_IDS: usize = 1 << 12;

/// Why a frame is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotForUs {
    /// Its destination is neither the port's own address nor one that is listed.
    Address,
    /// Its tag has a VLAN id that is not listed.
    Vlan,
}

/// What is let in whatever is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Every frame, also whatever its VLAN (`IFF_PROMISC`).
    pub promiscuous: bool,
    /// Every multicast frame (`IFF_ALLMULTI`).
    pub all_multicast: bool,
}

/// Which lists there was not enough room for: all frames of that kind are let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflow {
    /// More than [`UNICAST_LEN`] addresses.
    pub unicast: bool,
    /// More than [`MULTICAST_LEN`] addresses.
    pub multicast: bool,
}

/// A filter. Out of zeroes it lets everything in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// A frame is let in without a further look if [`key`] of its destination does not differ from this...
    usual: u64,
    /// ...in these bits.
    mask: u64,
    own: u64,
    mode: Mode,
    unicast: List<UNICAST_LEN>,
    multicast: List<MULTICAST_LEN>,
    filters_vlans: bool,
    vlans: [u64; VLAN_IDS / 64],
}

impl Filter {
    /// Lets everything in.
    pub const ALL: Self = Self {
        usual: 0,
        mask: 0,
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

    /// Sets the port's own address. From then on other frames are let in only if the filter says so.
    pub fn set_own(&mut self, address: Address) {
        self.own = key(address);
        self.set_usual();
    }

    /// Sets what is let in beside the port's own address and broadcast.
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
        self.set_usual();
    }

    /// Which lists there was not enough room for.
    pub fn overflow(&self) -> Overflow {
        Overflow {
            unicast: self.unicast.overflow,
            multicast: self.multicast.overflow,
        }
    }

    /// Whether a frame with an 802.1Q tag is let in only if its VLAN id is listed.
    pub fn set_filters_vlans(&mut self, on: bool) {
        self.filters_vlans = on;
        self.set_usual();
    }

    /// Puts a VLAN id on the list, or takes it away. Id 0 needs none: it is no VLAN's.
    pub fn set_vlan(&mut self, id: u16, listed: bool) {
        let (word, bit) = place(id);
        if let Some(word) = self.vlans.get_mut(word) {
            if listed {
                *word |= bit;
            } else {
                *word &= !bit;
            }
        }
    }

    fn set_usual(&mut self) {
        // No key has this bit: where tags count, every frame is looked at.
        self.usual = self.own | u64::from(self.filters_vlans);
        self.mask = if self.mode.promiscuous { 0 } else { u64::MAX };
    }

    /// Whether a frame is let in.
    #[inline]
    pub fn check(&self, frame: &impl Frame) -> Result<(), NotForUs> {
        // What is shorter is no frame, and the wire refuses it.
        let header = frame.start().first_chunk::<HEADER_LEN>();
        let Some(first) = header.and_then(|header| header.first_chunk()) else {
            return Ok(());
        };
        let key = key_of_first(*first);
        if (key ^ self.usual) & self.mask == 0 {
            return Ok(());
        }
        self.look_up(key, frame)
    }

    #[cold]
    fn look_up(&self, key: u64, frame: &impl Frame) -> Result<(), NotForUs> {
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
            match frame.tag().or_else(|| Tag::of(&frame.head())) {
                Some(tag) if !self.has_vlan(tag) => return Err(NotForUs::Vlan),
                _ => {}
            }
        }
        Ok(())
    }

    fn has_vlan(&self, tag: Tag) -> bool {
        let (word, bit) = place(tag.id());
        tag.protocol != Protocol::Customer
            || tag.id() == 0
            || self.vlans.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// An address in the form in which they are compared: its bytes one after the other from bit 16 on.
const fn key(address: Address) -> u64 {
    let [a, b, c, d, e, f] = address;
    key_of_first([a, b, c, d, e, f, 0, 0])
}

/// The key of a frame's destination, by the frame's first bytes.
#[inline]
const fn key_of_first(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes) << 16
}

const BROADCAST: u64 = key([0xff; 6]);

/// The bit that tells multicast from unicast.
const GROUP: u64 = key([1, 0, 0, 0, 0, 0]);

/// Where a VLAN id is in the table.
const fn place(id: u16) -> (usize, u64) {
    (id as usize / 64, 1 << (id % 64))
}

/// Addresses of one kind.
#[derive(Clone, Copy, PartialEq, Eq)]
struct List<const N: usize> {
    len: usize,
    /// The first `len` of them, sorted.
    keys: [u64; N],
    /// Whether there were more.
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
        // Each of the others moves on by one.
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
