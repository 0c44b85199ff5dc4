// SPDX-License-Identifier: GPL-2.0

//! VLAN tags: four bytes behind the addresses of a frame, or beside the frame where the hardware
//! puts them in and takes them out.

/// Where in a frame its outermost tag is, in bytes: behind the two addresses.
pub const TAG_OFFSET: usize = 12;

/// Length of a tag in bytes (`VLAN_HLEN`).
pub const TAG_LEN: usize = 4;

/// Which kind of tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A customer's tag, 802.1Q.
    Customer,
    /// A service provider's tag, 802.1ad.
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

    /// The protocol with this EtherType, if it is one of a tag.
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
    /// The kind of tag.
    pub protocol: Protocol,
    /// Tag control information: priority, drop eligibility, VLAN id.
    pub tci: u16,
}

impl Tag {
    /// The outermost tag in a frame of which these are the first bytes.
    #[inline]
    pub fn of(head: &[u8]) -> Option<Self> {
        let bytes = head.get(TAG_OFFSET..)?;
        let (ethertype, rest) = bytes.split_first_chunk()?;
        let protocol = Protocol::from_ethertype(u16::from_be_bytes(*ethertype))?;
        let tci = u16::from_be_bytes(*rest.first_chunk()?);
        Some(Self { protocol, tci })
    }

    /// The VLAN's number, 0 if the tag is there for its priority alone.
    #[inline]
    pub const fn id(self) -> u16 {
        self.tci & 0xfff
    }

    /// The tag as it is in a frame.
    pub fn bytes(self) -> [u8; TAG_LEN] {
        let [type0, type1] = self.protocol.ethertype().to_be_bytes();
        let [tci0, tci1] = self.tci.to_be_bytes();
        [type0, type1, tci0, tci1]
    }
}

/// Which tags a port takes out of the frames that it receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strip {
    /// The outermost tag if it is a customer's.
    pub customer: bool,
    /// The outermost tag if it is a service provider's.
    pub service: bool,
}

impl Strip {
    /// Whether an outermost tag of this kind is taken out.
    #[inline]
    pub const fn takes(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Customer => self.customer,
            Protocol::Service => self.service,
        }
    }
}
