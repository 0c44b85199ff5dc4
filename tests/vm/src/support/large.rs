// SPDX-License-Identifier: GPL-2.0

//! Large TCP frames for the port to cut.

use crate::{
    bed::Port,
    sockopt::VnetHdr,
    wire::{
        checksum::{fold, sum},
        packet::Sender,
        stream::data,
        ETH, NOBODY,
    },
};
use anyhow::Result;
use nix::sys::socket::setsockopt;

/// A TCP header without options.
pub const TCP: usize = 20;
pub const FIN: u8 = 0x01;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const ECE: u8 = 0x40;
pub const CWR: u8 = 0x80;

/// One large frame, as a packet socket hands it to the stack with a `struct virtio_net_hdr`.
#[derive(Clone)]
pub struct Large {
    pub v6: bool,
    /// Of the IPv4 header.
    pub ip_options: usize,
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
            ip_options: 0,
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
        let mut packet;
        let addresses;

        if self.v6 {
            packet = vec![0x60, 0, 0, 0];
            packet.extend((tcp_len as u16).to_be_bytes());
            packet.extend([6, 64]);
            for last in [1, 2] {
                packet.extend([0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
            }
            addresses = sum(&packet[8..40]);
        } else {
            let ip = 20 + self.ip_options;

            packet = vec![0x40 + (ip / 4) as u8, 0];
            packet.extend(((ip + tcp_len) as u16).to_be_bytes());
            packet.extend([0xff, 0xf0, 0x40, 0, 64, 6, 0, 0]);
            packet.extend([10, 77, 0, 1, 10, 77, 0, 2]);
            // No operation.
            packet.resize(ip, 1);
            let header = !fold(sum(&packet));
            packet[10..12].copy_from_slice(&header.to_be_bytes());
            addresses = sum(&packet[12..20]);
        }
        let tcp = ETH + packet.len();
        // The checksum field holds the pseudo header's sum, as CHECKSUM_PARTIAL wants it. The
        // sequence numbers wrap around.
        let pseudo = fold(addresses + 6 + tcp_len as u32);
        packet.extend([0x10, 0, 0x20, 0, 0xff, 0xff, 0xf0, 0, 0, 0, 0, 1]);
        packet.extend([0x50, self.flags, 0xff, 0xff]);
        packet.extend(pseudo.to_be_bytes());
        packet.extend([0, 0]);

        let mut frame = [NOBODY, [2, 0, 0, 0, 0, 1]].concat();
        frame.extend(if self.v6 { [0x86, 0xdd] } else { [8, 0] });
        frame.extend(packet);
        frame.extend(self.payload());
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

/// A socket that large frames can be sent with.
pub fn open(port: &Port) -> Result<Sender> {
    let sender = Sender::open(port)?;

    setsockopt(&sender, VnetHdr, &true)?;
    Ok(sender)
}
