// SPDX-License-Identifier: GPL-2.0

//! The Internet checksum, written for the tests alone so that it shares no error with what is
//! tested, and the check of a whole frame's checksums.

use super::ETH;
use anyhow::{bail, ensure, Result};

const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;

/// The sum of all 16-bit words; an odd last byte is a word's upper half.
pub fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) * 256 + pair.get(1).map_or(0, |low| u32::from(*low)))
        .sum()
}

/// A sum with its carries added in.
pub fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The checksum that the transport header of an IPv4 packet must hold, given that the field is
/// zero. UDP writes a computed zero as all ones.
pub fn transport_v4(packet: &[u8]) -> u16 {
    match !fold(pseudo_v4(packet) + sum(&packet[20..])) {
        0 => 0xffff,
        value => value,
    }
}

fn pseudo_v4(packet: &[u8]) -> u32 {
    sum(&packet[12..20]) + u32::from(packet[9]) + (packet.len() - 20) as u32
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
    let packet = &frame[ETH..];

    match u16::from_be_bytes([frame[12], frame[13]]) {
        0x0800 => verify_v4(packet),
        0x86dd => verify_v6(packet),
        _ => Ok(Kind::Other),
    }
}

fn verify_v4(packet: &[u8]) -> Result<Kind> {
    // A short frame is padded; the padding belongs to no packet.
    let packet = &packet[..usize::from(u16::from_be_bytes([packet[2], packet[3]]))];

    ensure!(
        packet[0] == 0x45,
        "IPv4 header with options, which no test sends"
    );
    ensure!(
        fold(sum(&packet[..20])) == 0xffff,
        "wrong IPv4 header checksum"
    );
    if u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0 {
        return Ok(Kind::Fragment);
    }
    match packet[9] {
        TCP => transport(packet[9], pseudo_v4(packet), &packet[20..]).map(|()| Kind::TcpV4),
        UDP => transport(packet[9], pseudo_v4(packet), &packet[20..]).map(|()| Kind::UdpV4),
        _ => Ok(Kind::Other),
    }
}

fn verify_v6(packet: &[u8]) -> Result<Kind> {
    let payload = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    let body = &packet[40..40 + payload];
    let pseudo = sum(&packet[8..40]) + u32::from(packet[6]) + payload as u32;

    match packet[6] {
        TCP => transport(TCP, pseudo, body).map(|()| Kind::TcpV6),
        UDP => transport(UDP, pseudo, body).map(|()| Kind::UdpV6),
        FRAGMENT => Ok(Kind::Fragment),
        _ => Ok(Kind::Other),
    }
}

/// Checks the checksum of a TCP or UDP packet, given the sum of its pseudo header.
pub fn transport(protocol: u8, pseudo: u32, body: &[u8]) -> Result<()> {
    if protocol == UDP && body[6..8] == [0, 0] {
        bail!("UDP packet without checksum");
    }
    ensure!(
        fold(pseudo + sum(body)) == 0xffff,
        "wrong checksum: protocol {protocol}, {} bytes, field {:02x}{:02x}",
        body.len(),
        body[if protocol == UDP { 6 } else { 16 }],
        body[if protocol == UDP { 7 } else { 17 }]
    );
    Ok(())
}
