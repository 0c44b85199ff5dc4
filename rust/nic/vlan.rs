// SPDX-License-Identifier: GPL-2.0

//! VLAN tags: four bytes after the addresses of a frame, or kept outside the frame if the hardware
//! inserts and strips them.

/// Offset of the outermost tag in a frame, in bytes: after the two addresses.
pub const TAG_OFFSET: usize = 12;

/// Length of a tag in bytes (`VLAN_HLEN`).
pub const TAG_LEN: usize = 4;

/// The protocol of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Customer tag, 802.1Q.
    Customer,
    /// Service provider tag, 802.1ad.
    Service,
}

impl Protocol {
    /// The EtherType (`ETH_P_8021Q`, `ETH_P_8021AD`).
    pub const fn ethertype(self) -> u16 {
        match self {
            Self::Customer => 0x8100,
            Self::Service => 0x88a8,
        }
    }

    /// The protocol with this EtherType, if it is that of a tag.
    #[inline]
    pub const fn from_ethertype(ethertype: u16) -> Option<Self> {
        match ethertype {
            0x8100 => Some(Self::Customer),
            0x88a8 => Some(Self::Service),
            _ => None,
        }
    }
}

/// A VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its protocol.
    pub protocol: Protocol,
    /// Tag control information: priority, drop eligibility, VLAN id.
    pub tci: u16,
}

impl Tag {
    /// The outermost tag of the frame that starts with `head`.
    #[inline]
    pub fn outermost(head: &[u8]) -> Option<Self> {
        let bytes = head.get(TAG_OFFSET..)?;
        let (ethertype, rest) = bytes.split_first_chunk()?;
        let protocol = Protocol::from_ethertype(u16::from_be_bytes(*ethertype))?;
        let tci = u16::from_be_bytes(*rest.first_chunk()?);
        Some(Self { protocol, tci })
    }

    /// The VLAN id; 0 if the tag only carries a priority.
    #[inline]
    pub const fn id(self) -> u16 {
        self.tci & 0xfff
    }

    /// The bytes of the tag in a frame.
    pub fn bytes(self) -> [u8; TAG_LEN] {
        let [type0, type1] = self.protocol.ethertype().to_be_bytes();
        let [tci0, tci1] = self.tci.to_be_bytes();
        [type0, type1, tci0, tci1]
    }
}

/// Which tags a port strips from the frames that it receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strip {
    /// The outermost tag, if it is a customer tag.
    pub customer: bool,
    /// The outermost tag, if it is a service provider tag.
    pub service: bool,
}

impl Strip {
    /// Whether an outermost tag with this protocol is stripped.
    #[inline]
    pub const fn takes(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Customer => self.customer,
            Protocol::Service => self.service,
        }
    }
}
