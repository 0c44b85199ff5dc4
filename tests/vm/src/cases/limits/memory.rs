// SPDX-License-Identifier: GPL-2.0

//! How much memory ports and rings take.

use crate::{
    bed::{Bed, Port},
    harness::case,
    host::{
        ensure_eq, module,
        usage::{self, Tolerances, Usage},
        wait_until,
    },
    nl::netdev::{self, PagePool},
    support::buffers::PAGE,
};
use anyhow::{ensure, Result};

/// How many descriptors each of 64 rings can have, so that their buffers fit into the VM's memory.
const LARGE_RING: u64 = (4096 * 4096 / PAGE) as u64;

/// The page pools in a port's namespace, where there are no others.
fn pools(port: &Port) -> Result<Vec<PagePool>> {
    port.ns.enter(netdev::page_pools)
}

/// The port has a pool for each queue, and each pool a page for each descriptor: not one more.
fn check_buffers(port: &Port, queues: u64, size: u64) -> Result<()> {
    let pools = pools(port)?;

    ensure_eq!(pools.len() as u64, queues, "pools of {queues} queues");
    for pool in &pools {
        ensure_eq!(
            (
                pool.ifindex,
                pool.inflight,
                pool.inflight_mem,
                pool.detached
            ),
            (
                Some(port.ifindex.into()),
                Some(size),
                Some(size * PAGE as u64),
                false
            ),
            "{queues} queues of {size}: device, pages and bytes of a pool, and whether the driver \
             has destroyed it"
        );
    }
    Ok(())
}

case!(ports "limits::buffers_of_rings", "queues=64 ring_size=64", buffers);
/// What the kernel counts of an idle port's pools: after it went up, after each change of the
/// rings, down, and removed.
fn buffers(bed: &Bed) -> Result<()> {
    let port = &bed.a;

    ensure_eq!(pools(port)?.len(), 0, "pools at first");
    port.up()?;
    check_buffers(port, 64, 64)?;
    for (queues, sizes) in [
        (64, &[LARGE_RING, 512, 64][..]),
        (4, &[64, 512, 4096]),
        (1, &[4096, 512, 64]),
        (2, &[64, 4096]),
    ] {
        port.ethtool("-L", &format!("combined {queues}"))?;
        for &size in sizes {
            port.ethtool("-G", &format!("rx {size}"))?;
            check_buffers(port, queues, size)?;
        }
    }
    for up in [false, true, false] {
        port.set_up(up)?;
        if up {
            check_buffers(port, 2, 4096)?;
        } else {
            ensure_eq!(pools(port)?.len(), 0, "pools of a port that is down");
        }
    }
    port.up()?;
    port.delete()?;
    ensure_eq!(pools(port)?.len(), 0, "pools of a port that is gone");
    Ok(())
}

// With what the debug kernel's instruments keep of each object there is more.
case!(ports "limits::memory_of_descriptors", "queues=64 ring_size=64", descriptors; stock_only());
/// What a descriptor takes besides its buffer: 32 bytes, and 8 for its entry in the pool. Larger
/// rings take that much more, and give it back.
fn descriptors(bed: &Bed) -> Result<()> {
    const RINGS: u64 = 64;
    const SMALL: u64 = 64;
    const LARGE: u64 = LARGE_RING / 2;
    const TAKEN: u64 = RINGS * (LARGE - SMALL) * (32 + 8);
    /// By how much the kernel's other objects grow or shrink meanwhile.
    const NOISE: u64 = TAKEN / 5;
    let port = &bed.a;

    // The kernel's allocators keep something at hand of whatever they have once been asked for.
    port.up()?;
    for size in [LARGE, SMALL] {
        port.ethtool("-G", &format!("rx {size}"))?;
    }
    let small = usage::objects()?;
    port.ethtool("-G", &format!("rx {LARGE}"))?;
    let taken = usage::objects()?.saturating_sub(small);
    ensure!(
        taken.abs_diff(TAKEN) < NOISE,
        "larger rings take {taken} bytes more, their descriptors {TAKEN}"
    );
    port.ethtool("-G", &format!("rx {SMALL}"))?;
    wait_until("the kernel has the large rings back", || {
        Ok(usage::objects()? < small + NOISE)
    })
}

case!(bare "limits::memory_of_ports", ports; stock_only());
/// As many ports with as many queues as there can be, all of them down. They are made twice, since
/// the kernel keeps some of what it makes the first time.
fn ports() -> Result<()> {
    const PORTS: u64 = 128;
    const MOST: u64 = 1 << 20;
    const PARAMS: &str = "pairs=64 queues=64 ring_size=4096";
    const NOISE: Tolerances = Tolerances {
        available: 16 << 10,
        slab: 16 << 10,
    };

    module::load(PARAMS)?;
    module::unload()?;
    let (used, before) = (Usage::now(&[])?, usage::unused()?);
    module::load(PARAMS)?;
    let port = before.saturating_sub(usage::unused()?) / PORTS;
    println!("limits::memory_of_ports: a port that is down, with 64 queues, takes {port} bytes");
    ensure!(port < MOST, "a port that is down takes {port} bytes");
    module::unload()?;
    used.wait_back(&[], Some(&NOISE))
}
