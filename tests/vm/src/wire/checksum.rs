// SPDX-License-Identifier: GPL-2.0

//! The Internet checksum, by a crate that shares no code with what is tested, and the check of a
//! whole frame's checksums.

use anyhow::{ensure, Result};
use etherparse::{
    checksum::Sum16BitWords, ip_number, EtherType, Ethernet2Header, IpNumber, Ipv4Slice, Ipv6Slice,
};

/// The sum of all 16-bit words of the pieces. Only the last piece may have an odd number of bytes.
pub fn sum(pieces: &[&[u8]]) -> u16 {
    let sum = pieces
        .iter()
        .fold(Sum16BitWords::new(), |sum, piece| sum.add_slice(piece));

    !sum.ones_complement().to_be()
}

/// What TCP and UDP write for the pieces. A computed zero is written as all ones.
pub fn field(pieces: &[&[u8]]) -> u16 {
    match !sum(pieces) {
        0 => 0xffff,
        value => value,
    }
}

/// The sum of the pseudo header of `len` bytes of TCP or UDP. The addresses are the sender's, then
/// the receiver's.
pub fn pseudo(addresses: &[u8], protocol: IpNumber, len: usize) -> u16 {
    sum(&[addresses, &[0, protocol.0], &(len as u32).to_be_bytes()])
}

/// What kind of frame passed the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    TcpV4,
    TcpV6,
    UdpV4,
    UdpV6,
    /// A piece of a fragmented packet, whose transport checksum covers more than this frame.
    Fragment,
    Other,
}

/// Checks the checksums of an Ethernet frame: IPv4 header, TCP and UDP.
pub fn verify(frame: &[u8]) -> Result<Kind> {
    let (ethernet, packet) = Ethernet2Header::from_slice(frame)?;

    match ethernet.ether_type {
        EtherType::IPV4 => verify_v4(&Ipv4Slice::from_slice(packet)?),
        EtherType::IPV6 => verify_v6(&Ipv6Slice::from_slice(packet)?),
        _ => Ok(Kind::Other),
    }
}

fn verify_v4(packet: &Ipv4Slice<'_>) -> Result<Kind> {
    let (header, payload) = (packet.header(), packet.payload());
    let addresses = [header.source(), header.destination()].concat();

    ensure!(
        sum(&[header.slice()]) == 0xffff,
        "wrong IPv4 header checksum"
    );
    if payload.fragmented {
        return Ok(Kind::Fragment);
    }
    let kind = match header.protocol() {
        ip_number::TCP => Kind::TcpV4,
        ip_number::UDP => Kind::UdpV4,
        _ => return Ok(Kind::Other),
    };
    transport(header.protocol(), &addresses, payload.payload).map(|()| kind)
}

fn verify_v6(packet: &Ipv6Slice<'_>) -> Result<Kind> {
    let (header, payload) = (packet.header(), packet.payload());
    let addresses = [header.source(), header.destination()].concat();
    let kind = match header.next_header() {
        ip_number::TCP => Kind::TcpV6,
        ip_number::UDP => Kind::UdpV6,
        ip_number::IPV6_FRAGMENTATION_HEADER => return Ok(Kind::Fragment),
        _ => return Ok(Kind::Other),
    };

    transport(header.next_header(), &addresses, payload.payload).map(|()| kind)
}

/// Checks the checksum of a TCP or UDP packet between these addresses.
pub fn transport(protocol: IpNumber, addresses: &[u8], body: &[u8]) -> Result<()> {
    let field = if protocol == ip_number::UDP {
        6..8
    } else {
        16..18
    };
    let pseudo = pseudo(addresses, protocol, body.len()).to_be_bytes();

    ensure!(body.len() >= field.end, "only {} bytes", body.len());
    ensure!(
        protocol != ip_number::UDP || body[6..8] != [0, 0],
        "UDP packet without checksum"
    );
    ensure!(
        sum(&[&pseudo, body]) == 0xffff,
        "wrong checksum: protocol {}, {} bytes, field {:02x?}",
        protocol.0,
        body.len(),
        &body[field]
    );
    Ok(())
}
