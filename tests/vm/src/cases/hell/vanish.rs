// SPDX-License-Identifier: GPL-2.0

//! Frames are redirected to devices that go away meanwhile.

use super::rounds;
use crate::{
    bed::Bed,
    harness::case,
    host::wait_until,
    support::{
        steer::{veth, Steer},
        traffic::{check_alive, settle_after_down, while_sending, Source},
    },
};
use anyhow::{ensure, Result};

/// How often a device goes in a round.
const TIMES: usize = 3;

case!(ports "hell::entry_of_a_devmap_vanishes", "queues=2", |bed| vanish(bed, true));
case!(ports "hell::device_by_number_vanishes", "queues=2", |bed| vanish(bed, false));
/// A veth pair is made, gets frames, and is removed under traffic, time and again. What its map's
/// entry or its number stood for is lost for a reason, and the next pair gets frames again.
fn vanish(bed: &Bed, by_map: bool) -> Result<()> {
    /// An entry of the map that is empty.
    const EMPTY: u32 = 7;
    let mut steer = Steer::load()?;
    let sources = Source::new(&bed.a).times(2);
    let (name, lost_as) = if by_map {
        ("hell::entry_of_a_devmap_vanishes", "xdp_aborted")
    } else {
        ("hell::device_by_number_vanishes", "xdp_redirect_errors")
    };

    bed.b.msglvl("drv off")?;
    steer.by_device(EMPTY)?;
    bed.b.attach(&steer.program)?;
    bed.up()?;
    let grows = |counter: &str| {
        let count = || bed.b.counters()?.rx(counter);
        let before = count()?;

        wait_until(&format!("{counter} grows"), || Ok(count()? > before + 20))
    };
    while_sending(&sources, |_| {
        rounds(name, |_| {
            for _ in 0..TIMES {
                let (near, _far) = veth(&bed.b.ns, 1500)?;

                if by_map {
                    steer.device(0, &near, None)?;
                    steer.by_device(0)?;
                } else {
                    steer.by_ifindex(near.ifindex)?;
                }
                grows("xdp_redirect")?;
                near.delete()?;
                grows(lost_as)?;
            }
            Ok(())
        })
    })?;
    let (_, b) = settle_after_down(bed)?;
    ensure!(
        b.counters.rx("xdp_pass")? == 0,
        "a frame was passed that was to be redirected"
    );
    b.check_verdicts()?;
    bed.b.detach()?;
    check_alive(bed)
}
