// SPDX-License-Identifier: GPL-2.0

//! Receive side scaling, as ethtool sets and shows it, and the ring that a frame goes to.

use crate::{
    bed::{Bed, Port},
    host::ensure_eq,
    wire::{packet::Sender, probe::Probe, toeplitz::Key},
};
use anyhow::{anyhow, ensure, Result};

pub const ENTRIES: usize = 128;
pub const FLOWS: u32 = 64;

pub fn key(seed: u8) -> Key {
    let mut byte = seed;

    Key::new([(); 40].map(|()| {
        byte = byte.wrapping_mul(73).wrapping_add(41);
        byte ^ (byte >> 3)
    }))
}

/// What `ethtool -x` shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    pub table: Vec<u32>,
    pub key: String,
    pub function: Vec<String>,
    pub transform: Vec<String>,
}

impl Shown {
    pub fn of(port: &Port) -> Result<Self> {
        Self::of_context(port, "")
    }

    /// Of an RSS context, such as "context 1".
    pub fn of_context(port: &Port, context: &str) -> Result<Self> {
        let text = port.ethtool("-x", context)?;
        let (mut table, mut key, mut part) = (Vec::new(), String::new(), "");
        let (mut function, mut transform) = (Vec::new(), Vec::new());

        for line in text.lines() {
            if !line.starts_with([' ', '\t']) && line.ends_with(':') && !line.contains(": ") {
                part = line;
                if !part.starts_with("RX flow") && part.contains(char::is_whitespace) {
                    continue;
                }
            }
            let words: Vec<_> = line.split_whitespace().collect();

            match (part, &words[..]) {
                (_, [entry, queues @ ..])
                    if table.len() < ENTRIES && *entry == format!("{}:", table.len()) =>
                {
                    for queue in queues {
                        table.push(queue.parse()?);
                    }
                }
                ("RSS hash key:", [bytes]) if bytes.len() == 3 * 40 - 1 => {
                    key = (*bytes).to_owned();
                }
                ("RSS hash function:", [name, "on"]) => function.push((*name).to_owned()),
                ("RSS input transformation:", [name, "on"]) => transform.push((*name).to_owned()),
                _ => {}
            }
        }
        ensure!(
            table.len() == ENTRIES && !key.is_empty(),
            "ethtool -x: {text}"
        );
        Ok(Self {
            table,
            key,
            function,
            transform,
        })
    }
}

pub fn spread(queues: u32) -> Vec<u32> {
    (0..ENTRIES as u32).map(|entry| entry % queues).collect()
}

/// The hashed fields of a flow type, in ethtool's letters.
pub fn hashed(port: &Port, kind: &str) -> Result<String> {
    let text = port.ethtool("-n", &format!("rx-flow-hash {kind}"))?;
    let letter = |line: &str| {
        Some(match line.trim() {
            "IP SA" => 's',
            "IP DA" => 'd',
            "L4 bytes 0 & 1 [TCP/UDP src port]" => 'f',
            "L4 bytes 2 & 3 [TCP/UDP dst port]" => 'n',
            "" => return None,
            line if line.contains("use these fields") => return None,
            line if line.starts_with("For RSS context") => return None,
            _ => '?',
        })
    };

    Ok(text.lines().filter_map(letter).collect())
}

pub fn set_hashed(port: &Port, kind: &str, letters: &str) -> Result<()> {
    port.ethtool("-N", &format!("rx-flow-hash {kind} {letters}"))
        .map(drop)
}

/// The addresses and ports in the frame of a probe.
pub fn tuple(frame: &[u8]) -> &[u8] {
    &frame[26..38]
}

/// Sends one frame on each of many flows, and checks that each goes to the ring that `queue`
/// returns.
pub fn check_rings(bed: &Bed, what: &str, queue: impl Fn(&[u8]) -> Option<u32>) -> Result<()> {
    let sender = Sender::open(&bed.a)?;
    let before = bed.b.counters()?.rx_each("packets")?;
    let mut expected = before.clone();
    let received = bed.b.link()?.stat("rx_packets")?;

    for flow in 0..FLOWS {
        let frame = Probe::new(flow, 0).frame();
        let queue = queue(tuple(&frame)).unwrap_or(0);

        expected[queue as usize] += 1;
        sender.send(&frame)?;
    }
    bed.b.wait_received(received + u64::from(FLOWS))?;
    ensure_eq!(
        bed.b.counters()?.rx_each("packets")?,
        expected,
        "{what}: rx_queue_*_packets, before {before:?}"
    );
    Ok(())
}

/// Frames of many flows go to the first `n` rings, to all of these and to no others.
pub fn check_spread(bed: &Bed, n: usize) -> Result<()> {
    let before = bed.b.counters()?.rx_each("packets")?;
    let sender = Sender::open(&bed.a)?;

    (0..FLOWS).try_for_each(|flow| sender.send(&Probe::new(flow, 0).frame()))?;
    bed.b
        .wait_received(before.iter().sum::<u64>() + u64::from(FLOWS))?;
    let after = bed.b.counters()?.rx_each("packets")?;
    let used: Vec<_> = (0..after.len())
        .filter(|ring| after[*ring] > before[*ring])
        .collect();
    ensure_eq!(used, (0..n).collect::<Vec<_>>(), "rings with {n} channels");
    Ok(())
}

/// Sends a frame and returns the ring that it went to.
pub fn ring_of(bed: &Bed, sender: &Sender, frame: &[u8]) -> Result<usize> {
    let before = bed.b.counters()?.rx_each("packets")?;

    sender.send(frame)?;
    bed.b.wait_received(before.iter().sum::<u64>() + 1)?;
    let after = bed.b.counters()?.rx_each("packets")?;
    after
        .iter()
        .zip(&before)
        .position(|(after, before)| after > before)
        .ok_or_else(|| anyhow!("no ring got the frame"))
}
