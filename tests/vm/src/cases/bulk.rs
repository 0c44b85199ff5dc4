// SPDX-License-Identifier: GPL-2.0

//! TCP carries a lot of data both ways at once, while programs come and go.

use crate::{
    bed::{Bed, V4, V6},
    bpf::Program,
    harness::case,
    host::{ensure_eq, PATIENCE},
    stats::check_both,
    support::buffers::{JUMBO, MTU_MAX, SINGLE_MTU},
};
use anyhow::{anyhow, ensure, Context, Result};
use std::{
    io::{Read, Write},
    net::{IpAddr, Shutdown, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

const LEN: usize = 10 << 20;
const CHUNK: usize = 64 << 10;

case!(ports "bulk::tcp_over_ipv4", "queues=4", |bed| bulk(bed, &V4, None));
case!(ports "bulk::tcp_over_ipv6", "queues=4", |bed| bulk(bed, &V6, None));
case!(ports "bulk::long_frames_and_short_rings_over_ipv4", "queues=2 ring_size=64",
    |bed| bulk(bed, &V4, Some(SINGLE_MTU)));
case!(ports "bulk::long_frames_over_ipv6", "queues=2", |bed| bulk(bed, &V6, Some(SINGLE_MTU)));
case!(ports "bulk::several_buffers_and_short_rings_over_ipv4", "queues=2 ring_size=64",
    |bed| bulk(bed, &V4, Some(JUMBO)));
case!(ports "bulk::many_buffers_over_ipv6", "queues=2", |bed| bulk(bed, &V6, Some(MTU_MAX)));
fn bulk(bed: &Bed, addresses: &[&str; 2], mtu: Option<usize>) -> Result<()> {
    let name = match mtu {
        Some(mtu) if mtu > SINGLE_MTU => "count_pass_frags",
        _ => "count_pass",
    };
    let programs = [Program::load("count", name)?, Program::load("count", name)?];
    let address: IpAddr = addresses[1].parse()?;

    for port in [&bed.a, &bed.b] {
        // Every swap logs two lines and one for each ring, which would fill the log.
        port.msglvl("drv off")?;
        if let Some(mtu) = mtu {
            port.set_mtu(mtu)?;
        }
        port.attach(&programs[0])?;
    }
    bed.up_with_addresses()?;

    let listener = bed.b.ns.enter(|| Ok(TcpListener::bind((address, 0))?))?;
    let to = listener.local_addr()?;
    let client = bed.a.ns.enter(|| Ok(TcpStream::connect(to)?))?;
    let (server, _) = listener.accept()?;
    let done = AtomicBool::new(false);

    thread::scope(|scope| -> Result<()> {
        let swapper = scope.spawn(|| swap(bed, [&programs[0], &programs[1]], &done));
        let moved = both_ways(&client, &server);

        done.store(true, Ordering::Relaxed);
        let swaps = swapper
            .join()
            .map_err(|_| anyhow!("the swapper panicked"))??;
        moved?;
        ensure!(swaps > 0, "no program was swapped during the transfer");
        Ok(())
    })?;
    drop((client, server));

    // After the last acknowledgement, which the programs see too.
    let (a, b) = bed.settled()?;
    check_both(&a, &b)?;
    let mut received = 0;
    for snapshot in [&a, &b] {
        let c = &snapshot.counters;

        ensure!(
            c.rx("bytes")? > LEN as u64,
            "{}: less received than was sent",
            snapshot.name
        );
        c.expect_rx(
            &snapshot.name,
            &[("no_buffer", 0), ("oversize", 0), ("skb_alloc_fail", 0)],
        )?;
        ensure_eq!(
            c.rx("multi_buffer")? > 0,
            name == "count_pass_frags",
            "{}: whether there were frames in several buffers",
            snapshot.name
        );
        snapshot.check_verdicts()?;
        received += c.rx("xdp_pass")?;
    }
    ensure_eq!(
        programs[0].seen()? + programs[1].seen()?,
        received,
        "frames that the programs saw"
    );
    ensure!(
        programs.iter().all(|p| p.seen().is_ok_and(|n| n > 0)),
        "one of the programs saw no frame"
    );
    Ok(())
}

/// Both ends send and receive at once; what arrives is what was sent.
fn both_ways(client: &TcpStream, server: &TcpStream) -> Result<()> {
    thread::scope(|scope| {
        let threads = [(client, server, 1), (server, client, 2)].map(|(from, to, seed)| {
            (
                scope.spawn(move || write_all(from, seed)),
                scope.spawn(move || read_all(to)),
                seed,
            )
        });

        for (writer, reader, seed) in threads {
            let sent = writer
                .join()
                .map_err(|_| anyhow!("a sender panicked"))?
                .with_context(|| format!("stream {seed}: sending"))?;
            let (len, found) = reader
                .join()
                .map_err(|_| anyhow!("a receiver panicked"))?
                .with_context(|| format!("stream {seed}: receiving"))?;

            ensure_eq!(len, LEN, "stream {seed}: bytes received");
            ensure_eq!(found, sent, "stream {seed}: checksum of the data");
        }
        Ok(())
    })
}

/// Data that no other part of the same or the other stream repeats; returns its checksum.
fn write_all(mut stream: &TcpStream, seed: u64) -> Result<u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed);
    let mut sum = Fnv::default();
    let mut chunk = Vec::with_capacity(CHUNK);

    stream.set_write_timeout(Some(PATIENCE))?;
    for _ in 0..LEN / CHUNK {
        chunk.clear();
        while chunk.len() < CHUNK {
            // Xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.extend(state.to_ne_bytes());
        }
        sum.add(&chunk);
        stream.write_all(&chunk)?;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(sum.0)
}

fn read_all(mut stream: &TcpStream) -> Result<(usize, u64)> {
    let mut sum = Fnv::default();
    let mut chunk = vec![0; CHUNK];
    let mut len = 0;

    stream.set_read_timeout(Some(PATIENCE))?;
    loop {
        let n = stream
            .read(&mut chunk)
            .with_context(|| format!("after {len} bytes"))?;

        if n == 0 {
            return Ok((len, sum.0));
        }
        sum.add(&chunk[..n]);
        len += n;
    }
}

/// FNV-1a: depends on every bit and on their order.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Replaces the programs of both ports in turn. Returns how often.
fn swap(bed: &Bed, programs: [&Program; 2], done: &AtomicBool) -> Result<usize> {
    let mut swaps = 0;

    while !done.load(Ordering::Relaxed) {
        swaps += 1;
        for port in [&bed.a, &bed.b] {
            port.attach(programs[swaps % 2])?;
        }
    }
    Ok(swaps)
}
