// SPDX-License-Identifier: GPL-2.0

//! Drops the same flood at every place where the kernel can drop it, from the driver to the socket,
//! and says what a dropped frame costs at each.
//!
//! The frames leave by one interface and come in by another: two ports of oxnic, or two cards and a
//! cable. They are UDP datagrams for a socket that this program opens, so a frame that nobody drops
//! gets there, and a frame that gets there was not dropped.

#![forbid(unsafe_code)]

mod flood;
mod report;

use anyhow::{ensure, Context, Result};
use clap::{value_parser, Parser};
use flood::{Flood, PROBES};
use nix::{errno::Errno, unistd::geteuid};
use oxnic_drop_points::{
    cost::{short_run, slope, Unit},
    place::{Dropper, Place},
    programs,
    progress::Progress,
    socket::Listener,
};
use oxnic_samples::{bpf::ObjectFile, interface::Interface, say, stop::Stop};
use report::{Measured, Outputs};
use std::{path::PathBuf, process::ExitCode};

/// Drops the same flood at every place where the kernel can drop it, and says what a dropped frame
/// costs at each.
///
/// pktgen sends UDP datagrams out of one interface; they come in by another, where they are dropped
/// by native XDP, generic XDP, tcx, nftables (netdev ingress, raw prerouting, input) or the filter
/// of a UDP socket, in turn. What pktgen costs alone is subtracted. In a VM whose clock counts
/// instructions (QEMU's -icount shift=0) costs are instructions, elsewhere nanoseconds.
///
/// Both interfaces are brought up if they are down, and the second has the address 10.9.0.2 for the
/// time of the measurement. All of it is taken back at the end, after Ctrl-C too.
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Arguments {
    /// The interface that the frames leave by
    from: String,
    /// The interface that they come in by, and where they are dropped
    to: String,
    /// A place to drop; may be repeated [default: all]
    #[arg(long = "place", value_name = "PLACE")]
    places: Vec<Place>,
    /// Frames of a measurement
    // So many that a short run, an eighth of them, has a frame.
    #[arg(long, default_value_t = 65536, value_parser = value_parser!(u32).range(512..=100_000_000))]
    frames: u32,
    /// How often everything is measured
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Draws the costs as a bar chart
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Writes the table and the output into a text, between the lines "<!-- make hook-cost: table -->"
    /// (or "output") and "<!-- end -->"; may be repeated
    #[arg(long, value_name = "FILE")]
    into: Vec<PathBuf>,
    #[command(flatten)]
    object: ObjectFile,
}

impl Arguments {
    fn places(&self) -> &[Place] {
        if self.places.is_empty() {
            &Place::ALL
        } else {
            &self.places
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();

    oxnic_samples::run("hook_cost", || run(&arguments))
}

fn run(arguments: &Arguments) -> Result<()> {
    // What cannot work shall fail before the long part begins.
    let from = Interface::find(&arguments.from)?;
    let to = Interface::find(&arguments.to)?;
    ensure!(
        from.index != to.index,
        "the frames must come in by another interface than {from}, which they leave by"
    );
    let outputs = Outputs::open(arguments.svg.as_deref(), &arguments.into)?;
    need_root()?;

    let stop = Stop::on_signals()?;
    programs::silence();
    let dropper = Dropper::load(&arguments.object.path("hook_cost")?)?;
    let flood = Flood::prepare(&from.name, &to.name, &stop)?;
    let mut progress = Progress::new(arguments.runs as usize * (1 + arguments.places().len()));
    let unit = Unit::of_this_machine();

    progress.say(&format!(
        "pktgen sends UDP in frames of {} bytes out of {from}; {to} receives them",
        flood::SIZE
    ));
    match unit {
        Unit::Instructions => {
            progress.say("costs are instructions: the clock of this machine counts them");
        }
        Unit::Nanoseconds => {
            progress
                .say("costs are nanoseconds, as the clock of this machine counts no instructions;");
            progress.say("what other CPUs do beside the one that sends is not in them");
        }
    }
    let measured = measure(arguments, &flood, &dropper, &mut progress)?;

    say!("\n{}", measured.table(unit))?;
    outputs.write(&measured, unit, &flood, progress.said())
}

/// pktgen belongs to root, so a few capabilities would not do.
fn need_root() -> Result<()> {
    if geteuid().is_root() {
        Ok(())
    } else {
        Err(Errno::EPERM).context("sending with pktgen")
    }
}

/// Measures every place, and all of them again.
fn measure(
    arguments: &Arguments,
    flood: &Flood<'_>,
    dropper: &Dropper,
    progress: &mut Progress,
) -> Result<Measured> {
    let mut measured = Measured::new(arguments.places());

    for _ in 0..arguments.runs {
        let alone = slope(arguments.frames, |frames| flood.send_alone(frames))?;

        progress.step("pktgen alone", "", &format!("{alone:.0}"));
        for (place, costs) in &mut measured.places {
            let cost = drop_at(*place, arguments.frames, flood, dropper)
                .with_context(|| place.title())?
                - alone;
            let dropped = arguments.frames + 2 * short_run(arguments.frames);

            costs.push(cost);
            progress.step(
                place.title(),
                "",
                &format!(
                    "{cost:.0} (without it the socket gets {PROBES} of {PROBES} frames, \
                     with it 0 of {dropped})"
                ),
            );
        }
    }
    Ok(measured)
}

/// What a frame costs that is sent and then dropped at a place.
fn drop_at(place: Place, frames: u32, flood: &Flood<'_>, dropper: &Dropper) -> Result<f64> {
    let socket = Listener::new(flood.to())?;

    // As long as nobody drops them, frames must reach the socket: else what is measured could be
    // some other end that they meet on their way.
    flood.send(PROBES)?;
    let received = socket.received();
    ensure!(
        received == PROBES as usize,
        "{received} of {PROBES} frames reach the socket while nobody drops them"
    );

    let dropping = dropper.drop_at(place, flood.to(), Some(&socket))?;
    let cost = slope(frames, |frames| flood.send(frames))?;
    let received = socket.received();
    ensure!(
        received == 0,
        "{received} frames were not dropped and reached the socket"
    );
    dropping.end()?;
    Ok(cost)
}
