// SPDX-License-Identifier: GPL-2.0

//! The programs of samples/bpf do what they say, attached as a reader would attach them.

use crate::{
    bed::{Bed, V4, V6},
    bpf,
    harness::case,
    host::ensure_eq,
    stats::check_both,
    wire::stream::{read_all, tcp_pair},
};
use anyhow::{ensure, Result};
use std::io::Write;

/// Without `-force` ip does not replace a program.
fn attach(bed: &Bed, name: &str) -> Result<()> {
    let (port, object) = (&bed.b, bpf::path(name)?);

    port.ns
        .ip(&format!(
            "-force link set dev {} xdp obj {} sec xdp",
            port.name,
            object.display()
        ))
        .map(drop)
}

fn ping(bed: &Bed, rest: &str) -> Result<String> {
    bed.a.ns.ping(&format!("-c 3 -i 0.2 {rest}"))
}

case!(ports "sample::drop_and_pass", "", drop_and_pass);
fn drop_and_pass(bed: &Bed) -> Result<()> {
    bed.up_with_addresses()?;
    ping(bed, V4[1])?;
    ping(bed, V6[1])?;

    attach(bed, "xdp_drop")?;
    for to in [V4[1], V6[1]] {
        let said = bed
            .a
            .ns
            .exec_refusal(&format!("ping -c 2 -i 0.2 -W 1 {to}"))?;
        ensure!(
            said.contains("100% packet loss"),
            "ping through xdp_drop: {said}"
        );
    }
    ensure!(
        bed.b.counters()?.rx("xdp_drop")? >= 4,
        "xdp_drop is not counted"
    );

    attach(bed, "xdp_pass")?;
    ping(bed, V4[1])?;
    ping(bed, V6[1])?;
    bed.b.ip_link_set("xdp off")?;
    ping(bed, V4[1])?;
    let (a, b) = bed.settled()?;
    check_both(&a, &b)
}

case!(ports "sample::tx_answers_pings", "", tx_answers);
/// With B's stack out of the way (the addresses pinged are no one's) only the program can answer;
/// ping itself checks the checksum, the sequence and every byte of the reply.
fn tx_answers(bed: &Bed) -> Result<()> {
    bed.up_with_addresses()?;
    attach(bed, "xdp_tx")?;
    let mac = bed.b.mac()?;
    let before = bed.b.counters()?.rx("xdp_tx")?;

    for (to, sizes) in [
        ("10.77.0.99", [0, 1, 56, 1472]),
        ("fd77::99", [0, 1, 56, 1452]),
    ] {
        bed.a.add_neighbour(to, &mac)?;
        for size in sizes {
            let said = ping(bed, &format!("-s {size} -p a55a01 {to}"))?;
            ensure!(said.contains("3 received"), "{said}");
            ensure!(
                !said.contains("wrong data") && !said.contains("DUP"),
                "{said}"
            );
        }
    }
    ensure_eq!(
        bed.b.counters()?.rx("xdp_tx")? - before,
        2 * 4 * 3,
        "B: rx_queue_*_xdp_tx"
    );

    // What is no echo request goes to the stack: with the program attached TCP and UDP still work.
    let (mut near, far) = tcp_pair(&bed.a, &bed.b, V4[1])?;
    near.write_all(b"hello")?;
    ensure_eq!(read_all(&far, 5)?, b"hello", "TCP past xdp_tx");
    Ok(())
}
