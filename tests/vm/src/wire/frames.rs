// SPDX-License-Identifier: GPL-2.0

//! Frames of other kinds than the probe's.

use super::{checksum, NOBODY, SOURCE};
use etherparse::{
    EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6Header, TcpHeader, UdpHeader,
};

pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;
/// A customer's VLAN tag (802.1Q).
pub const CTAG: u16 = 0x8100;
/// A service provider's VLAN tag (802.1ad).
pub const STAG: u16 = 0x88a8;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const DESTINATION_OPTIONS: u8 = 60;

/// Where a frame's tags are: behind the addresses.
const TAGS: usize = 12;

/// A frame to no one.
pub fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let header = Ethernet2Header {
        source: SOURCE,
        destination: NOBODY,
        ether_type: EtherType(ethertype),
    };

    [&header.to_bytes(), payload].concat()
}

/// The header of an IPv4 packet with a payload of so many bytes, from port A to port B.
pub fn ipv4_header(identification: u16, protocol: IpNumber, payload: usize) -> Ipv4Header {
    let mut header = Ipv4Header {
        identification,
        dont_fragment: true,
        time_to_live: 64,
        total_len: (Ipv4Header::MIN_LEN + payload) as u16,
        protocol,
        source: [10, 77, 0, 1],
        destination: [10, 77, 0, 2],
        ..Ipv4Header::default()
    };

    header.header_checksum = header.calc_header_checksum();
    header
}

/// An IPv4 packet; `fragment` is the word with flags and offset.
pub fn ipv4(src: [u8; 4], dst: [u8; 4], protocol: u8, fragment: u16, body: &[u8]) -> Vec<u8> {
    let header = Ipv4Header {
        source: src,
        destination: dst,
        ..ipv4_header(7, IpNumber(protocol), body.len())
    };
    let mut bytes = header.to_bytes();

    // The header type has no place for the bit that is reserved.
    bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
    bytes[10..12].fill(0);
    let sum = !checksum::sum(&[&bytes]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    [&bytes, body].concat()
}

/// An IPv6 packet.
pub fn ipv6(src: [u8; 16], dst: [u8; 16], next: u8, body: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        payload_length: body.len() as u16,
        next_header: IpNumber(next),
        hop_limit: 64,
        source: src,
        destination: dst,
        ..Ipv6Header::default()
    };

    [&header.to_bytes(), body].concat()
}

/// What follows IP in TCP or UDP as far as it matters here: the ports, then enough for a header.
pub fn transport(src: u16, dst: u16, protocol: u8) -> Vec<u8> {
    const LEN: usize = 40;
    let mut body = if protocol == UDP {
        let header = UdpHeader {
            source_port: src,
            destination_port: dst,
            length: LEN as u16,
            checksum: 0,
        };
        header.to_bytes().to_vec()
    } else {
        let header = TcpHeader {
            acknowledgment_number: 1,
            ack: true,
            ..TcpHeader::new(src, dst, 1, 0x100)
        };
        header.to_bytes().to_vec()
    };

    body.resize(LEN, 0x5a);
    body
}

/// The frame with tags in it, the outermost first: protocol and control information.
pub fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let mut bytes = frame[..TAGS].to_vec();

    for (protocol, tci) in tags {
        bytes.extend(protocol.to_be_bytes());
        bytes.extend(tci.to_be_bytes());
    }
    bytes.extend(&frame[TAGS..]);
    bytes
}
