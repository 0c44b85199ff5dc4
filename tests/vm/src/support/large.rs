// SPDX-License-Identifier: GPL-2.0

//! Large TCP frames for the port to cut.

use crate::{
    bed::Port,
    sockopt::VnetHdr,
    wire::{
        checksum,
        frames::{ethernet, ipv4_header, IPV4, IPV6},
        packet::Sender,
        stream::data,
        ETH,
    },
};
use anyhow::Result;
use etherparse::{ip_number, Ipv4Options, Ipv6Header, TcpHeader};
use nix::sys::socket::setsockopt;

/// The addresses of the ports over IPv6.
const V6: [[u8; 16]; 2] = [address(1), address(2)];
const fn address(last: u8) -> [u8; 16] {
    [0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

/// A TCP header without options.
pub const TCP: usize = 20;
pub const FIN: u8 = 0x01;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const ECE: u8 = 0x40;
pub const CWR: u8 = 0x80;

/// A large frame, which a packet socket hands to the stack with a `struct virtio_net_hdr`.
#[derive(Clone)]
pub struct Large {
    pub v6: bool,
    /// Of the IPv4 header.
    pub ip_options: Ipv4Options,
    pub flags: u8,
    pub len: usize,
    pub mss: u16,
    /// Bytes of the frame to overwrite, so that its headers are wrong.
    pub lies: Vec<(usize, u8)>,
    pub csum_start: Option<u16>,
}

impl Large {
    pub fn new(len: usize, mss: u16) -> Self {
        Self {
            v6: false,
            ip_options: Ipv4Options::new(),
            flags: ACK,
            len,
            mss,
            lies: Vec::new(),
            csum_start: None,
        }
    }

    pub fn payload(&self) -> Vec<u8> {
        data(9, self.len)
    }

    pub fn count(&self) -> usize {
        self.len.div_ceil(self.mss.into())
    }

    pub fn frame(&self) -> Vec<u8> {
        let tcp_len = TCP + self.len;
        let has = |flag: u8| self.flags & flag != 0;
        let mut tcp = TcpHeader {
            acknowledgment_number: 1,
            fin: has(FIN),
            psh: has(PSH),
            ack: has(ACK),
            ece: has(ECE),
            cwr: has(CWR),
            // The number may wrap around.
            ..TcpHeader::new(0x1000, 0x2000, 0xffff_f000, 0xffff)
        };
        let (ethertype, ip, addresses) = if self.v6 {
            let header = Ipv6Header {
                payload_length: tcp_len as u16,
                next_header: ip_number::TCP,
                hop_limit: 64,
                source: V6[0],
                destination: V6[1],
                ..Ipv6Header::default()
            };
            let addresses = [header.source, header.destination].concat();
            (IPV6, header.to_bytes().to_vec(), addresses)
        } else {
            let mut header = ipv4_header(0xfff0, ip_number::TCP, self.ip_options.len() + tcp_len);
            header.options = self.ip_options.clone();
            header.header_checksum = header.calc_header_checksum();
            let addresses = [header.source, header.destination].concat();
            (IPV4, header.to_bytes().to_vec(), addresses)
        };

        // What CHECKSUM_PARTIAL wants to find there.
        tcp.checksum = checksum::pseudo(&addresses, ip_number::TCP, tcp_len);
        let mut frame = ethernet(
            ethertype,
            &[&ip[..], &tcp.to_bytes(), &self.payload()].concat(),
        );
        let tcp = ETH + ip.len();
        for (at, value) in &self.lies {
            frame[*at] = *value;
        }

        // flags NEEDS_CSUM, gso_type, hdr_len, gso_size, csum_start, csum_offset.
        let ecn = if self.flags & CWR != 0 { 0x80 } else { 0 };
        let mut bytes = vec![1, ecn | if self.v6 { 4 } else { 1 }];
        let start = self.csum_start.unwrap_or(tcp as u16);
        for word in [(tcp + TCP) as u16, self.mss, start, 16] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(frame);
        bytes
    }
}

/// A packet socket for large frames.
pub fn open(port: &Port) -> Result<Sender> {
    let sender = Sender::open(port)?;

    setsockopt(&sender, VnetHdr, &true)?;
    Ok(sender)
}
