// SPDX-License-Identifier: GPL-2.0

//! The last UDP frame as the three programs found it in their contexts: the Rust side of `struct
//! view` in `samples/bpf/socket_filter.bpf.c`.

use anyhow::{Context, Result};
use aya::maps::{Array, MapData};
use oxnic_samples::say;

/// As the map has it: `struct view` is 5 words of 8 bytes.
type Words = [u64; 5];

struct View {
    time: u64,
    len: u32,
    ifindex: u32,
    queue: u32,
    hash: u32,
    protocol: u32,
    kind: u32,
    first: [u8; 8],
}

impl View {
    fn read(views: &Array<&MapData, Words>, place: u32) -> Result<Option<Self>> {
        let [time, len, queue, protocol, first] = views
            .get(&place, 0)
            .with_context(|| format!("reading view {place}"))?;
        // Two fields of 4 bytes in each word, the first in its lower half.
        let low = |word| word as u32;
        let high = |word: u64| (word >> 32) as u32;

        // Without a time there was no frame yet.
        Ok((time != 0).then(|| Self {
            time,
            len: low(len),
            ifindex: high(len),
            queue: low(queue),
            hash: high(queue),
            protocol: low(protocol),
            kind: high(protocol),
            first: first.to_ne_bytes(),
        }))
    }

    fn first(&self) -> String {
        let bytes: Vec<_> = self
            .first
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();

        bytes.join(" ")
    }

    fn kind(&self) -> String {
        match self.kind {
            0 => "PACKET_HOST".to_owned(),
            1 => "PACKET_BROADCAST".to_owned(),
            2 => "PACKET_MULTICAST".to_owned(),
            3 => "PACKET_OTHERHOST".to_owned(),
            kind => kind.to_string(),
        }
    }
}

/// Prints the three views side by side. What is not in a context is a "-".
pub fn print(views: &Array<&MapData, Words>) -> Result<()> {
    let xdp = View::read(views, 0)?;
    let packet = View::read(views, 1)?;
    let udp = View::read(views, 2)?;
    if xdp.is_none() && packet.is_none() && udp.is_none() {
        return say!("   None arrived");
    }
    let begin = [&xdp, &packet, &udp]
        .into_iter()
        .flatten()
        .map(|view| view.time)
        .min()
        .unwrap_or_default();
    let in_both =
        |show: &dyn Fn(&View) -> String| [&xdp, &packet, &udp].map(|view| view.as_ref().map(show));
    // What only an sk_buff has.
    let in_skb =
        |show: &dyn Fn(&View) -> String| [None, packet.as_ref().map(show), udp.as_ref().map(show)];

    row(
        "",
        ["XDP", "packet", "UDP"].map(|title| Some(title.to_owned())),
    )?;
    row(
        "context",
        ["xdp_md", "__sk_buff", "__sk_buff"].map(|title| Some(title.to_owned())),
    )?;
    row(
        "time",
        in_both(&|view| format!("+{} us", (view.time - begin) / 1000)),
    )?;
    row("length", in_both(&|view| view.len.to_string()))?;
    row("first bytes", in_both(&View::first))?;
    row("ifindex", in_both(&|view| view.ifindex.to_string()))?;
    row("queue", in_both(&|view| view.queue.to_string()))?;
    row("hash", in_skb(&|view| format!("{:#010x}", view.hash)))?;
    // It is in the order of the network.
    row(
        "protocol",
        in_skb(&|view| format!("{:#06x}", (view.protocol as u16).swap_bytes())),
    )?;
    row("pkt_type", in_skb(&View::kind))
}

fn row(title: &str, cells: [Option<String>; 3]) -> Result<()> {
    let cells: Vec<_> = cells
        .into_iter()
        .map(|cell| format!("{:<25}", cell.unwrap_or_else(|| "-".to_owned())))
        .collect();

    say!("   {title:<13}{}", cells.concat().trim_end())
}
