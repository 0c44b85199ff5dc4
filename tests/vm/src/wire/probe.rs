// SPDX-License-Identifier: GPL-2.0

//! The frame the tests send: IPv4 and UDP around a number that tells it from all others and a
//! pattern that follows from that number. `tests/bpf/probe.h` is the programs' side of it.

use super::{checksum, frames::ipv4_header, Mac, ETH, ETH_ZLEN, NOBODY, SOURCE};
use anyhow::{bail, Result};
use etherparse::{ip_number, EtherType, Ethernet2Header, Ipv4Header, UdpHeader};

const MAGIC: [u8; 4] = *b"oxnc";
/// Where the magic number is.
const PROBE: usize = ETH + Ipv4Header::MIN_LEN + UdpHeader::LEN;
/// Where the pattern begins.
const PATTERN: usize = PROBE + 16;

/// Verdicts that a probe can ask `verdict.bpf.c` for.
pub mod verdict {
    pub const ABORTED: u8 = 0;
    pub const DROP: u8 = 1;
    pub const PASS: u8 = 2;
    pub const TX: u8 = 3;
    /// Through the program's cpumap, so back into the stack of the same port.
    pub const REDIRECT: u8 = 4;
    pub const UNKNOWN: u8 = 42;
    pub const DEVMAP: u8 = 0x85;
    pub const BAD_REDIRECT: u8 = 0x86;
    pub const DEVMAP_SECOND: u8 = 0x87;

    /// One of each that a program without maps can return, and a redirect that fails.
    pub const EACH: [u8; 5] = [PASS, DROP, TX, ABORTED, BAD_REDIRECT];
}

/// What is in a probe; the frame follows from it byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub src: Mac,
    pub dst: Mac,
    /// Also chooses the UDP source port and so the receive ring.
    pub flow: u32,
    pub seq: u32,
    pub verdict: u8,
    /// Zero when sent. Programs flip bits of it.
    pub mark: u8,
    /// Of the frame, Ethernet header included.
    pub len: usize,
}

impl Probe {
    pub fn new(flow: u32, seq: u32) -> Self {
        Self {
            src: SOURCE,
            dst: NOBODY,
            flow,
            seq,
            verdict: verdict::PASS,
            mark: 0,
            len: 128,
        }
    }

    pub fn verdict(self, verdict: u8) -> Self {
        Self { verdict, ..self }
    }

    pub fn len(self, len: usize) -> Self {
        Self {
            len: len.max(ETH_ZLEN),
            ..self
        }
    }

    /// The same probe as a program that returned XDP_TX sends it back.
    pub fn reflected(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            mark: self.mark ^ 0xff,
            ..self.clone()
        }
    }

    /// The same probe after a program has flipped some bits of its mark.
    pub fn marked(&self, bits: u8) -> Self {
        Self {
            mark: self.mark ^ bits,
            ..self.clone()
        }
    }

    /// The frame. Its UDP checksum is the one of a probe with mark 0, as no one corrects it in
    /// flight.
    pub fn frame(&self) -> Vec<u8> {
        let ethernet = Ethernet2Header {
            source: self.src,
            destination: self.dst,
            ether_type: EtherType::IPV4,
        };
        let mut payload = self.payload();
        let udp_len = UdpHeader::LEN + payload.len();
        let ip = ipv4_header(0, ip_number::UDP, udp_len);
        let mut udp = UdpHeader {
            // The hash is linear: ports that differ in few bits reach few rings with some keys. So
            // neighbouring flows differ in all of them.
            source_port: (self.flow.wrapping_mul(0x9e37_79b1) >> 16) as u16,
            destination_port: 9,
            length: udp_len as u16,
            checksum: 0,
        };
        let addresses = [ip.source, ip.destination].concat();
        let pseudo = checksum::pseudo(&addresses, ip_number::UDP, udp_len).to_be_bytes();

        udp.checksum = checksum::field(&[&pseudo, &udp.to_bytes(), &payload]);
        payload[13] = self.mark;
        [
            &ethernet.to_bytes()[..],
            &ip.to_bytes(),
            &udp.to_bytes(),
            &payload,
        ]
        .concat()
    }

    /// What follows the headers, with a mark of 0.
    fn payload(&self) -> Vec<u8> {
        let start = self
            .seq
            .wrapping_mul(31)
            .wrapping_add(self.flow.wrapping_mul(7));
        let mut payload = Vec::with_capacity(self.len);

        payload.extend(MAGIC);
        payload.extend(self.flow.to_be_bytes());
        payload.extend(self.seq.to_be_bytes());
        payload.extend([self.verdict, 0, 0, 0]);
        for i in 0..self.len.saturating_sub(PATTERN) {
            payload.push(start.wrapping_add(i as u32 * 13) as u8 ^ (i >> 8) as u8);
        }
        payload.truncate(self.len - PROBE);
        payload
    }

    /// The probe in a frame, if it is one and every byte is as it has to be.
    pub fn parse(frame: &[u8]) -> Result<Option<Self>> {
        if frame.len() < ETH_ZLEN || frame[PROBE..PROBE + 4] != MAGIC {
            return Ok(None);
        }
        let word = |at: usize| {
            u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
        };
        let mut dst = Mac::default();
        let mut src = Mac::default();

        dst.copy_from_slice(&frame[0..6]);
        src.copy_from_slice(&frame[6..12]);
        let probe = Self {
            src,
            dst,
            flow: word(PROBE + 4),
            seq: word(PROBE + 8),
            verdict: frame[PROBE + 12],
            mark: frame[PROBE + 13],
            len: frame.len(),
        };

        match super::diff(frame, &probe.frame()) {
            None => Ok(Some(probe)),
            Some(diff) => bail!("flow {} seq {}: {diff}", probe.flow, probe.seq),
        }
    }
}
