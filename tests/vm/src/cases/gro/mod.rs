// SPDX-License-Identifier: GPL-2.0

//! TCP segments that the card cut from one frame, and that the driver puts together again: what the
//! stack gets, what ends it, and that the bytes are the same.

mod ends;
mod streams;

use crate::{
    bed::{Bed, Port},
    harness::case,
    host::{ensure_eq, kmsg::Kmsg, rcu, tracefs::Trace, wait_until},
    support::{
        buffers::PAGE,
        held::Held,
        large::{open, Large, TCP},
    },
    wire::{
        frames::IPV4,
        packet::{Sender, Tap},
        probe::Probe,
        stream::ensure_data,
        ETH,
    },
};
use anyhow::{ensure, Context, Result};

const ONE: &str = "queues=1";
/// An skb that is handed to GRO.
const RECEIVE: &str = "net/napi_gro_receive_entry";

/// How many segments an skb can have: its linear part, and `MAX_SKB_FRAGS` fragments.
const MOST: usize = 18;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;

/// `CHECKSUM_UNNECESSARY` and `CHECKSUM_PARTIAL`.
const CHECKED: u64 = 1;
const PARTIAL: u64 = 3;
/// `SKB_GSO_TCPV4` and `SKB_GSO_TCPV6`.
const GSO: [u64; 2] = [1, 1 << 4];

/// An skb as the driver hands it to GRO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Skb {
    /// Without the Ethernet header.
    len: u64,
    data_len: u64,
    truesize: u64,
    nr_frags: u64,
    ip_summed: u64,
    gso_size: u64,
    gso_type: u64,
}

impl Skb {
    /// From the fields of an event; `None` if it is another device's.
    fn parse(fields: &str, port: &Port) -> Result<Option<Self>> {
        if !fields.contains(&format!("dev={} ", port.name)) {
            return Ok(None);
        }
        let field = |name: &str| {
            let value = fields
                .split_whitespace()
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
                .with_context(|| format!("no {name} in \"{fields}\""))?;
            let number = match value.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16)?,
                None => value.parse()?,
            };
            anyhow::Ok(number)
        };

        Ok(Some(Self {
            len: field("len")?,
            data_len: field("data_len")?,
            truesize: field("truesize")?,
            nr_frags: field("nr_frags")?,
            ip_summed: field("ip_summed")?,
            gso_size: field("gso_size")?,
            gso_type: field("gso_type")?,
        }))
    }

    /// How many segments with headers of that length were put together.
    fn segments(&self, headers: usize) -> usize {
        match self.gso_size {
            0 => 1,
            size => (self.len - headers as u64).div_ceil(size) as usize,
        }
    }
}

/// Sends segments that wait in B's ring until all are there, so that one poll after the other takes
/// as many as it may.
struct Bursts<'a> {
    bed: &'a Bed,
    large: Sender,
    small: Sender,
    /// The size of B's ring, which changes each time.
    size: u32,
}

/// What became of the segments.
struct Received {
    /// What the driver has handed to GRO.
    skbs: Vec<Skb>,
    /// How many segments it has added to others.
    merged: u64,
    /// What a packet socket has got.
    frames: Vec<Vec<u8>>,
}

impl<'a> Bursts<'a> {
    /// The ports are up.
    fn new(bed: &'a Bed) -> Result<Self> {
        Ok(Self {
            bed,
            large: open(&bed.a)?,
            small: Sender::open(&bed.a)?,
            size: 512,
        })
    }

    fn send(&mut self, frames: &[Large]) -> Result<Received> {
        let trace = Trace::start(RECEIVE)?;
        let (skbs, merged, frames) = self.send_traced(frames, &trace)?;

        Ok(Received {
            skbs,
            merged,
            frames,
        })
    }

    fn send_traced(
        &mut self,
        frames: &[Large],
        trace: &Trace,
    ) -> Result<(Vec<Skb>, u64, Vec<Vec<u8>>)> {
        let Bed { a, b } = self.bed;
        let count: u64 = frames.iter().map(|large| large.count() as u64).sum();
        let held = Held::new(b, 0, || self.small.send(&Probe::new(1, 0).frame()))?;
        let (sent, received) = (a.counters()?.tx("packets")?, b.link()?.stat("rx_packets")?);
        let merged = b.counters()?.rx("segments_merged")?;
        let tap = Tap::open(b)?;

        trace.clear()?;
        for large in frames {
            self.large.send(&large.frame())?;
        }
        wait_until("all segments are in the ring", || {
            Ok(a.counters()?.tx("packets")? >= sent + count)
        })?;
        self.size = if self.size == 512 { 256 } else { 512 };
        held.release(self.size)?;
        b.wait_received(received + count)?;
        // The poll that took the last frame has ended.
        rcu::grace_period()?;
        let skbs = trace
            .lines("napi_gro_receive_entry")?
            .iter()
            .map(|fields| Skb::parse(fields, b))
            .filter_map(Result::transpose)
            .collect::<Result<_>>()?;

        Ok((
            skbs,
            b.counters()?.rx("segments_merged")? - merged,
            tap.rest()?,
        ))
    }
}

/// How many segments the skbs have that a frame of `count` segments becomes.
fn in_skbs(count: usize) -> Vec<usize> {
    let mut parts = vec![MOST; count / MOST];

    parts.extend((count % MOST != 0).then_some(count % MOST));
    parts
}

case!(ports "gro::skb", ONE, skb);
/// The skb that the driver makes: all that GRO and whoever forwards it need to know. A packet
/// socket sees packets that are longer than the MTU, with the headers of one packet.
fn skb(bed: &Bed) -> Result<()> {
    const MSS: usize = 1000;
    /// The last segment is shorter.
    const LEN: usize = 39 * MSS + 500;

    bed.up()?;
    let mut bursts = Bursts::new(bed)?;
    let single = Large::new(2 * MSS, MSS as u16);
    // One that is not merged, to compare with.
    bed.b.ethtool("-K", "gro off")?;
    let alone = bursts.send(std::slice::from_ref(&single))?;
    ensure_eq!(
        (alone.skbs.len(), alone.merged),
        (2, 0),
        "skbs with gro off"
    );
    bed.b.ethtool("-K", "gro on")?;
    for v6 in [false, true] {
        let headers = TCP + if v6 { IPV6_LEN } else { IPV4_LEN };
        let large = Large {
            v6,
            ..Large::new(LEN, MSS as u16)
        };
        let found = bursts.send(std::slice::from_ref(&large))?;
        let mut left = LEN;
        let expected: Vec<_> = in_skbs(large.count())
            .into_iter()
            .map(|count| {
                let payload = left.min(count * MSS);
                left -= payload;
                Skb {
                    len: (headers + payload) as u64,
                    data_len: (payload - MSS) as u64,
                    truesize: alone.skbs[0].truesize + (PAGE * (count - 1)) as u64,
                    nr_frags: count as u64 - 1,
                    ip_summed: PARTIAL,
                    gso_size: MSS as u64,
                    gso_type: GSO[usize::from(v6)],
                }
            })
            .collect();

        ensure_eq!(found.skbs, expected, "IPv6: {v6}: skbs");
        ensure_eq!(
            found.merged,
            (large.count() - expected.len()) as u64,
            "IPv6: {v6}: segments_merged"
        );
        check_frames(&found.frames, &large)
            .with_context(|| format!("IPv6: {v6}: what a packet socket sees"))?;
    }
    ensure_eq!(alone.skbs[0].ip_summed, CHECKED, "of a single segment");
    Ok(())
}

/// The frames have the payload of a large one, and lengths that agree with their headers. At least
/// one is longer than the MTU.
fn check_frames(frames: &[Vec<u8>], large: &Large) -> Result<()> {
    let mut payload = Vec::new();
    let mut longest = 0;

    for frame in frames {
        let word = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        let (ip_len, headers) = if word(12) == usize::from(IPV4) {
            (word(ETH + 2), IPV4_LEN)
        } else {
            (word(ETH + 4) + IPV6_LEN, IPV6_LEN)
        };
        ensure_eq!(ip_len, frame.len() - ETH, "length in the IP header");
        if headers == IPV4_LEN {
            let sum = crate::wire::checksum::sum(&[&frame[ETH..ETH + IPV4_LEN]]);
            ensure_eq!(sum, 0xffff, "sum of the IPv4 header");
        }
        longest = longest.max(ip_len);
        payload.extend(&frame[ETH + headers + TCP..]);
    }
    ensure!(longest > 1500, "no packet is longer than {longest}");
    ensure_data("payload", &payload, &large.payload())
}

case!(ports "gro::polls", ONE, polls);
/// Nothing is held beyond a poll, although the budget ends in the middle of a frame's segments:
/// each poll hands over as many segments as it has taken off the ring.
fn polls(bed: &Bed) -> Result<()> {
    const HEADERS: usize = IPV4_LEN + TCP;
    let frames = [Large::new(45_000, 1000), Large::new(45_000, 1000)];
    let count: usize = frames.iter().map(Large::count).sum();

    bed.up()?;
    let mut bursts = Bursts::new(bed)?;
    let trace = Trace::start_all(&[RECEIVE, "oxnic/poll_begin", "oxnic/poll_end"])?;
    let (skbs, merged, _) = bursts.send_traced(&frames, &trace)?;
    let dev = format!("dev={} ", bed.b.name);
    let (mut segments, mut all, mut cut) = (0, 0, false);
    for (event, fields) in trace.all()? {
        if !fields.contains(&dev) {
            continue;
        }
        match event.as_str() {
            "poll_begin" => segments = 0,
            "napi_gro_receive_entry" => {
                let skb = Skb::parse(&fields, &bed.b)?.context("an skb of B")?;
                segments += skb.segments(HEADERS);
            }
            "poll_end" => {
                let work = fields
                    .split_whitespace()
                    .find_map(|word| word.strip_prefix("work="))
                    .context("no work in poll_end")?;
                ensure_eq!(segments, work.parse()?, "segments handed over in a poll");
                all += segments;
                cut |= all % 45 != 0;
            }
            _ => {}
        }
    }
    ensure_eq!(all, count, "segments");
    ensure!(cut, "no poll has ended within a frame's segments");
    ensure_eq!(merged, (count - skbs.len()) as u64, "segments_merged");
    Ok(())
}

case!(ports "gro::trace", ONE, trace);
/// What the kernel log says of segments: their verdicts, and what the stack gets.
fn trace(bed: &Bed) -> Result<()> {
    let large = Large::new(3000, 1000);
    let program = crate::bpf::Program::sample("xdp_pass")?;
    let merged = "napi_gro_receive(3054 bytes in 3 segments)";

    bed.up()?;
    bed.b.msglvl("rx_status on")?;
    let mut bursts = Bursts::new(bed)?;
    let mut log = Kmsg::from_now()?;
    for with_program in [false, true] {
        let expected = if with_program {
            bed.b.attach(&program)?;
            let verdict = format!(
                "READ_ONCE: id {}; bpf_prog_run_xdp(1054 bytes) = XDP_PASS",
                program.id
            );
            vec![verdict.clone(), verdict.clone(), verdict, merged.to_owned()]
        } else {
            vec![format!("READ_ONCE: none; {merged}")]
        };
        log.forget()?;
        bursts.send(std::slice::from_ref(&large))?;
        let prefix = format!("oxnic {}: rx_ring[0]: ", bed.b.name);
        let lines: Vec<_> = log
            .starting_with(&prefix)?
            .iter()
            .map(|line| line[prefix.len()..].to_owned())
            // That of the frame which came before, to hold the ring.
            .skip(1)
            .filter(|line| line.contains("bytes"))
            .collect();

        ensure_eq!(lines, expected, "with a program: {with_program}");
    }
    Ok(())
}
