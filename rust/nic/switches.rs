// SPDX-License-Identifier: GPL-2.0

//! The switches of a port: each is something that other cards and their drivers do differently with
//! XDP. All are off at first. A personality is the set of switches of a family of cards.
//!
//! Documentation/cards.md has the table from which the sets come, with file and line of each
//! driver.

/// The switches that are on, and the personality, if they are those of one: bits in the order of
/// [`NAMES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches(u32);

/// Declares the switches, whose bits are in the order of the list, and [`NAMES`].
macro_rules! switches {
    (
        switches { $($(#[$doc:meta])* $switch:ident: $name:literal,)* }
        personalities {
            $($(#[$card_doc:meta])* $card:ident: $card_name:literal = [$($of:ident),* $(,)?],)*
        }
    ) => {
        /// The place of each bit.
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "as the constants")]
        enum Bit {
            $($switch,)*
            $($card,)*
        }

        impl Switches {
            $($(#[$doc])* pub const $switch: Self = Self(1 << Bit::$switch as u32);)*
            $($(#[$card_doc])* pub const $card: Self = Self(
                1 << Bit::$card as u32 $(| Self::$of.0)*
            );)*
        }

        /// The names of the switches, and those of the personalities after them, as `ethtool
        /// --show-priv-flags` shows them.
        pub const NAMES: &[&str] = &[$($name,)* $(concat!("personality-", $card_name),)*];

        /// The personalities by their names.
        pub const PERSONALITIES: &[(&str, Switches)] = &[$(($card_name, Switches::$card),)*];
    };
}

switches! {
    switches {
        /// Frames can be redirected to the port only while it has a program.
        XMIT_NEEDS_PROG: "xdp-xmit-needs-prog",
        /// Frames can be redirected to the port only on CPUs with a queue of the same number.
        XMIT_QUEUE_PER_CPU: "xdp-xmit-queue-per-cpu",
        /// A program needs as many spare queues as there are in use.
        ATTACH_NEEDS_QUEUES: "xdp-attach-needs-queues",
        /// Attaching the first program, and detaching the last, loses the frames in the rings.
        ATTACH_LOSES_FRAMES: "xdp-attach-loses-frames",
        /// Attaching the first program, and detaching the last, takes the link down for some time.
        ATTACH_LINK_DOWN: "xdp-attach-link-down",
        /// Replacing a program does what attaching the first does.
        REPLACE_AS_ATTACH: "xdp-replace-as-attach",
        /// A program has 192 bytes of headroom.
        HEADROOM_192: "xdp-headroom-192",
        /// A program has 256 bytes of headroom.
        HEADROOM_256: "xdp-headroom-256",
        /// The largest MTU with a program without frags support is 1500.
        MTU_1500: "xdp-mtu-1500",
        /// The largest MTU with a program without frags support is 2034: buffers of 2048 bytes.
        MTU_2034: "xdp-mtu-2034",
        /// The largest MTU with a program without frags support is 3046: buffers of 3072 bytes.
        MTU_3046: "xdp-mtu-3046",
        /// Programs get no multi-buffer frames, whether they support them or not.
        NO_FRAGS: "xdp-no-frags",
        /// Multi-buffer frames cannot be redirected to the port.
        XMIT_NO_FRAGS: "xdp-xmit-no-frags",
        /// Programs do not get the time stamp of a frame.
        NO_HINT_TIMESTAMP: "xdp-no-hint-timestamp",
        /// Programs do not get the hash of a frame.
        NO_HINT_HASH: "xdp-no-hint-hash",
        /// Programs do not get the VLAN tag of a frame.
        NO_HINT_VLAN: "xdp-no-hint-vlan",

        /// The card verifies the checksum of every frame, before a program may change it.
        CSUM_BEFORE_XDP: "rx-csum-before-xdp",
        /// VLAN tags are stripped, which cannot be switched off.
        VLAN_STRIP_FIXED: "rx-vlan-strip-fixed",
        /// AF_XDP sockets cannot be bound in zero-copy mode.
        XSK_NO_ZEROCOPY: "xsk-no-zerocopy",
        /// AF_XDP sockets in zero-copy mode get and send no multi-buffer frames.
        XSK_NO_FRAGS: "xsk-no-frags",
        /// What AF_XDP sockets in zero-copy mode request for a frame is ignored.
        XSK_NO_TX_METADATA: "xsk-no-tx-metadata",
    }
    personalities {
        /// Intel 700 series.
        I40E: "i40e" = [
            XMIT_NEEDS_PROG, XMIT_QUEUE_PER_CPU, ATTACH_LOSES_FRAMES, ATTACH_LINK_DOWN,
            HEADROOM_192, MTU_3046, NO_HINT_TIMESTAMP, NO_HINT_HASH, NO_HINT_VLAN, CSUM_BEFORE_XDP,
            XSK_NO_TX_METADATA,
        ],
        /// Intel 800 series.
        ICE: "ice" = [
            XMIT_NEEDS_PROG, ATTACH_LOSES_FRAMES, HEADROOM_256, MTU_3046, CSUM_BEFORE_XDP,
            XSK_NO_TX_METADATA,
        ],
        /// Intel 82599, X540, X550.
        IXGBE: "ixgbe" = [
            XMIT_NEEDS_PROG, ATTACH_LOSES_FRAMES, ATTACH_LINK_DOWN, HEADROOM_192, MTU_3046,
            NO_FRAGS, NO_HINT_TIMESTAMP, NO_HINT_HASH, NO_HINT_VLAN, CSUM_BEFORE_XDP, XSK_NO_FRAGS,
            XSK_NO_TX_METADATA,
        ],
        /// Intel I210, I211, I350, 82576.
        IGB: "igb" = [
            XMIT_NEEDS_PROG, ATTACH_LOSES_FRAMES, ATTACH_LINK_DOWN, HEADROOM_192, MTU_3046,
            NO_FRAGS, NO_HINT_TIMESTAMP, NO_HINT_HASH, NO_HINT_VLAN, CSUM_BEFORE_XDP, XSK_NO_FRAGS,
            XSK_NO_TX_METADATA,
        ],
        /// Intel I225, I226.
        IGC: "igc" = [
            XMIT_NEEDS_PROG, ATTACH_LOSES_FRAMES, HEADROOM_256, MTU_1500, NO_FRAGS, NO_HINT_VLAN,
            CSUM_BEFORE_XDP, XSK_NO_FRAGS,
        ],
        /// NVIDIA ConnectX-4 and later.
        MLX5: "mlx5" = [
            XMIT_NEEDS_PROG, XMIT_QUEUE_PER_CPU, ATTACH_LOSES_FRAMES, HEADROOM_256, CSUM_BEFORE_XDP,
            XSK_NO_FRAGS,
        ],
        /// virtio, as of QEMU.
        VIRTIO_NET: "virtio_net" = [
            XMIT_NEEDS_PROG, HEADROOM_256, NO_HINT_TIMESTAMP, NO_HINT_HASH, NO_HINT_VLAN,
            XSK_NO_ZEROCOPY, XSK_NO_FRAGS, XSK_NO_TX_METADATA,
        ],
        /// Amazon's cloud.
        ENA: "ena" = [
            XMIT_NEEDS_PROG, ATTACH_NEEDS_QUEUES, ATTACH_LOSES_FRAMES, HEADROOM_256, NO_FRAGS,
            XMIT_NO_FRAGS, NO_HINT_TIMESTAMP, NO_HINT_HASH, NO_HINT_VLAN, CSUM_BEFORE_XDP,
            XSK_NO_ZEROCOPY, XSK_NO_FRAGS, XSK_NO_TX_METADATA,
        ],
        /// Google's cloud.
        GVE: "gve" = [
            XMIT_NEEDS_PROG, ATTACH_NEEDS_QUEUES, ATTACH_LOSES_FRAMES, HEADROOM_256, MTU_2034,
            NO_FRAGS, XMIT_NO_FRAGS, NO_HINT_HASH, NO_HINT_VLAN, CSUM_BEFORE_XDP, XSK_NO_FRAGS,
            XSK_NO_TX_METADATA,
        ],
        /// Broadcom NetXtreme-C/E.
        BNXT: "bnxt" = [
            XMIT_NEEDS_PROG, ATTACH_LOSES_FRAMES, REPLACE_AS_ATTACH, HEADROOM_256,
            NO_HINT_TIMESTAMP, NO_HINT_VLAN, CSUM_BEFORE_XDP, XSK_NO_ZEROCOPY, XSK_NO_FRAGS,
            XSK_NO_TX_METADATA,
        ],
    }
}

// The kernel has room for 32 private flags, and ethtool for 31 bytes of each name.
const _: () = {
    assert!(NAMES.len() <= 32);
    let mut n = 0;
    while n < NAMES.len() {
        assert!(NAMES[n].len() <= 31);
        n += 1;
    }
};

/// Switches of which at most one can be on.
const GROUPS: [Switches; 2] = [
    Switches::HEADROOM_192.or(Switches::HEADROOM_256),
    Switches::MTU_1500
        .or(Switches::MTU_2034)
        .or(Switches::MTU_3046),
];

/// The bits of the personalities.
const PERSONALITY_BITS: Switches = {
    let mut bits = 0;
    let mut n = NAMES.len() - PERSONALITIES.len();
    while n < NAMES.len() {
        bits |= 1 << n;
        n += 1;
    }
    Switches(bits)
};

/// Two wishes that exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// More than one personality.
    Personalities,
    /// Switches of which at most one can be on: more than one headroom, or more than one MTU.
    Exclusive,
}

impl Switches {
    /// No switch is on.
    pub const NONE: Self = Self(0);

    /// Those that change what happens to single frames.
    pub const PER_FRAME: Self = Self::HEADROOM_192
        .or(Self::HEADROOM_256)
        .or(Self::NO_FRAGS)
        .or(Self::CSUM_BEFORE_XDP);

    /// As the kernel has them: private flags.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From [`bits`](Self::bits). Those that have no name are ignored.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & (u32::MAX >> (u32::BITS as usize - NAMES.len())))
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all switches of `other` are on.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any switch of `other` is on.
    #[inline]
    pub const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Without those of `other`.
    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The personality of this name.
    pub fn of_personality(name: &[u8]) -> Option<Self> {
        let mut all = PERSONALITIES.iter();
        Some(all.find(|(card, _)| card.as_bytes() == name)?.1)
    }

    /// The personality, if there is one.
    pub fn personality(self) -> Option<&'static str> {
        let own = Self(self.0 & PERSONALITY_BITS.0);
        let mut all = PERSONALITIES.iter();
        let found = all.find(|(_, set)| own != Self::NONE && set.has(own))?;
        Some(found.0)
    }

    /// The names of the switches and personalities that are not the same in `new`, and whether they
    /// are on there.
    pub fn changes_to(self, new: Self) -> impl Iterator<Item = (&'static str, bool)> {
        NAMES.iter().enumerate().filter_map(move |(n, name)| {
            let flag = Self(1 << n);
            let on = new.has(flag);
            (self.has(flag) != on).then_some((*name, on))
        })
    }

    /// The bytes of headroom that a program has, if they are fewer than usual.
    #[inline]
    pub const fn headroom(self) -> Option<u32> {
        if self.has(Self::HEADROOM_192) {
            Some(192)
        } else if self.has(Self::HEADROOM_256) {
            Some(256)
        } else {
            None
        }
    }

    /// The largest MTU at which the frames of a program fit into a single buffer, if it is smaller
    /// than usual.
    pub const fn single_buffer_mtu(self) -> Option<u32> {
        if self.has(Self::MTU_1500) {
            Some(1500)
        } else if self.has(Self::MTU_2034) {
            Some(2034)
        } else if self.has(Self::MTU_3046) {
            Some(3046)
        } else {
            None
        }
    }

    /// The switches after the user has asked for `wanted`, all flags as they are to be.
    ///
    /// A personality that is switched on brings all switches of its set, and switches off all
    /// others; one that is switched off switches all off. What else the user asks for at the same
    /// time is done after that. With any other change of a switch the personality is none any more.
    /// Of switches that exclude each other, one that is switched on switches off the others.
    pub fn changed(self, wanted: Self) -> Result<Self, Conflict> {
        let changed = Self(self.0 ^ wanted.0);
        let on = Self(changed.0 & wanted.0);
        let personalities = Self(on.0 & PERSONALITY_BITS.0);
        if personalities.0.count_ones() > 1 {
            return Err(Conflict::Personalities);
        }
        let mut chosen = PERSONALITIES.iter().map(|(_, set)| *set);
        let base = match chosen.find(|set| set.has_any(personalities)) {
            Some(set) => set,
            None if changed.has_any(PERSONALITY_BITS) => Self::NONE,
            None => self,
        };
        let others = changed.without(PERSONALITY_BITS);
        let mut new = Self(base.0 & !others.0 | wanted.0 & others.0);
        for group in GROUPS {
            let asked = Self(on.0 & group.0);
            match asked.0.count_ones() {
                0 => {}
                1 => new = new.without(group).or(asked),
                _ => return Err(Conflict::Exclusive),
            }
        }
        if new.without(PERSONALITY_BITS) != base.without(PERSONALITY_BITS) {
            new = new.without(PERSONALITY_BITS);
        }
        Ok(new)
    }
}
