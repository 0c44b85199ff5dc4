// SPDX-License-Identifier: GPL-2.0

//! What the program says about a frame: the Rust side of `struct record` in
//! `samples/bpf/xdp_hints_ring.bpf.c`.

use anyhow::{Context, Result};
use nix::errno::Errno;
use std::time::Duration;

/// What a call to the driver brought, or why it brought nothing.
type Hint<T> = Result<T, Errno>;

#[derive(Debug)]
pub struct Record {
    /// When the program ran, in nanoseconds of International Atomic Time.
    now: u64,
    timestamp: Hint<u64>,
    hash: Hint<Hash>,
    vlan: Hint<Vlan>,
    pub len: u32,
    queue: u16,
    ethertype: u16,
}

#[derive(Debug)]
struct Hash {
    value: u32,
    /// Bits of `enum xdp_rss_hash_type`.
    kind: u32,
}

#[derive(Debug)]
struct Vlan {
    protocol: u16,
    /// Priority, drop indicator and number, as the tag has them.
    tci: u16,
}

impl Record {
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut fields = Fields { rest: bytes };
        let now = fields.u64()?;
        let timestamp = fields.u64()?;
        let timestamp_error = fields.i32()?;
        let hash_error = fields.i32()?;
        let hash = Hash {
            value: fields.u32()?,
            kind: fields.u32()?,
        };
        let vlan_error = fields.i32()?;
        let vlan = Vlan {
            protocol: fields.u16()?,
            tci: fields.u16()?,
        };

        Ok(Self {
            now,
            timestamp: hint(timestamp_error, timestamp),
            hash: hint(hash_error, hash),
            vlan: hint(vlan_error, vlan),
            len: fields.u32()?,
            queue: fields.u16()?,
            ethertype: fields.u16()?,
        })
    }

    /// The cells of the frame's line.
    pub fn cells(&self) -> [String; 7] {
        let (stamp, age) = match self.timestamp {
            Ok(stamp) => (
                seconds(stamp),
                format!("{} ns", i128::from(self.now) - i128::from(stamp)),
            ),
            Err(errno) => (missing(errno), "-".to_owned()),
        };

        [
            self.len.to_string(),
            ethertype(self.ethertype),
            self.queue.to_string(),
            stamp,
            age,
            show(&self.hash, |hash| {
                format!("{:08x} {}", hash.value, hash.kind())
            }),
            show(&self.vlan, Vlan::text),
        ]
    }
}

impl Hash {
    /// What it was computed over.
    fn kind(&self) -> String {
        let names = [
            (1 << 0, "IPv4"),
            (1 << 1, "IPv6"),
            (1 << 4, "TCP"),
            (1 << 5, "UDP"),
        ];
        let set: Vec<_> = names
            .into_iter()
            .filter(|(bit, _)| self.kind & bit != 0)
            .map(|(_, name)| name)
            .collect();

        if set.is_empty() {
            format!("type {:#x}", self.kind)
        } else {
            set.join(" ")
        }
    }
}

impl Vlan {
    fn text(&self) -> String {
        let protocol = match self.protocol {
            0x8100 => "802.1Q".to_owned(),
            0x88a8 => "802.1ad".to_owned(),
            other => format!("{other:#06x}"),
        };
        let mut text = format!("{protocol} id {}", self.tci & 0xfff);

        if self.tci >> 13 != 0 {
            text.push_str(&format!(" priority {}", self.tci >> 13));
        }
        text
    }
}

fn hint<T>(error: i32, value: T) -> Hint<T> {
    match error {
        0 => Ok(value),
        error => Err(Errno::from_raw(error.wrapping_neg())),
    }
}

fn show<T>(hint: &Hint<T>, text: impl FnOnce(&T) -> String) -> String {
    match hint {
        Ok(value) => text(value),
        Err(errno) => missing(*errno),
    }
}

/// Why there is none: the card has none for this frame, or the driver never has any.
fn missing(errno: Errno) -> String {
    match errno {
        Errno::ENODATA => "none".to_owned(),
        Errno::EOPNOTSUPP => "unsupported".to_owned(),
        errno => format!("{errno:?}"),
    }
}

fn seconds(nanoseconds: u64) -> String {
    let time = Duration::from_nanos(nanoseconds);

    format!("{}.{:09}", time.as_secs(), time.subsec_nanos())
}

fn ethertype(number: u16) -> String {
    match number {
        0x0800 => "IPv4".to_owned(),
        0x0806 => "ARP".to_owned(),
        0x86dd => "IPv6".to_owned(),
        0x8100 | 0x88a8 => "VLAN".to_owned(),
        other => format!("{other:#06x}"),
    }
}

/// Takes a record apart, from its beginning on. It is in the processor's byte order and without gaps.
struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .context("a record of the program is too short")?;

        self.rest = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16> {
        self.take().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    fn i32(&mut self) -> Result<i32> {
        self.take().map(i32::from_ne_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_ne_bytes)
    }
}
