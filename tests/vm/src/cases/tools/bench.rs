// SPDX-License-Identifier: GPL-2.0

//! xdp-bench: its programs do to frames what they are to measure, and it counts all of them.

use super::{start, total, Pins};
use crate::{
    bed::Bed,
    harness::case,
    host::ensure_eq,
    stats::check_both,
    support::steer::SecondPair,
    wire::{
        packet::{Sender, Tap},
        probe::Probe,
    },
};
use anyhow::{Context, Result};

/// Frames per mode.
const COUNT: u32 = 500;

case!(ports "tools::bench", "pairs=2", bench);
fn bench(bed: &Bed) -> Result<()> {
    let pins = Pins::watch()?;
    let second = SecondPair::make(bed)?;
    let (b, out) = (&bed.b.name, &second.near.name);
    let taps = [
        Tap::open(&bed.a)?,
        Tap::open(&bed.b)?,
        Tap::open(&second.far)?,
    ];
    let sent: Vec<_> = (0..COUNT).map(|seq| Probe::new(1, seq)).collect();
    let swapped: Vec<_> = sent.iter().map(swapped).collect();
    let expect = |at: usize, frames: &[Probe]| -> Result<()> {
        ensure_eq!(taps[at].probes(frames.len())?, frames, "frames at {at}");
        taps.iter().try_for_each(Tap::silence)
    };

    bed.up()?;
    second.up()?;
    measure(bed, &format!("drop {b}"), ("xdp_drop", "Rx dropped"))?;
    expect(1, &[])?;
    measure(bed, &format!("pass {b}"), ("xdp_pass", "Packets received"))?;
    expect(1, &sent)?;
    measure(bed, &format!("tx {b}"), ("xdp_tx", "Packets received"))?;
    expect(0, &swapped)?;
    let redirect = ("xdp_redirect", "Packets received");
    measure(bed, &format!("redirect-cpu --cpu 0 {b}"), redirect)?;
    expect(1, &sent)?;
    let redirect = ("xdp_redirect", "Packets transmitted");
    measure(bed, &format!("redirect --stats {b} {out}"), redirect)?;
    expect(2, &swapped)?;
    measure(bed, &format!("redirect-map --stats {b} {out}"), redirect)?;
    expect(2, &swapped)?;
    pins.ensure_none()?;

    // Two of the modes redirect to the port.
    ensure_eq!(
        second.near.counters()?.tx("xdp_xmit")?,
        2 * u64::from(COUNT),
        "{out}: tx_queue_*_xdp_xmit"
    );
    let (a, b) = (bed.a.snapshot()?, bed.b.snapshot()?);
    check_both(&a, &b)
}

/// What comes back: the program exchanges the addresses, as for a peer that must take it.
fn swapped(probe: &Probe) -> Probe {
    Probe {
        src: probe.dst,
        dst: probe.src,
        ..probe.clone()
    }
}

/// Runs a mode on port B while A sends; the tool and the port have counted all frames, as what the
/// mode does with them too.
fn measure(bed: &Bed, mode: &str, (counter, label): (&str, &str)) -> Result<()> {
    let port = &bed.b;
    let before = port.counters()?;
    let mut tool = start(port, &format!("xdp-bench {mode} --interval 1"))?;

    // What comes before its first report is not in its sums.
    tool.wait_for("rx/s")?;
    Sender::open(&bed.a)?.send_flow(&Probe::new(1, 0), COUNT)?;
    port.wait_received(before.rx("packets")? + u64::from(COUNT))?;
    let said = tool
        .interrupt()
        .with_context(|| format!("xdp-bench {mode}"))?;

    for label in ["Packets received", label] {
        ensure_eq!(
            total(&said, label)?,
            u64::from(COUNT),
            "xdp-bench {mode}: {label}, in: {said}"
        );
    }
    ensure_eq!(
        port.counters()?.rx(counter)? - before.rx(counter)?,
        u64::from(COUNT),
        "xdp-bench {mode}: rx_queue_*_{counter}"
    );
    ensure_eq!(
        port.link()?.xdp_driver_id,
        None,
        "xdp-bench {mode}: program left behind"
    );
    Ok(())
}
