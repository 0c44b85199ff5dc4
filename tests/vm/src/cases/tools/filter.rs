// SPDX-License-Identifier: GPL-2.0

//! xdp-filter: which frames its rules drop, and that it counts them as the port does.

use super::{refusal, run, Pins, Status};
use crate::{
    bed::{mac_text, Bed, Port, V4, V6},
    harness::case,
    host::{ensure_eq, wait_until},
    stats::check_both,
    wire::stream::udp,
};
use anyhow::{ensure, Context, Result};
use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

/// Datagrams per question.
const COUNT: u64 = 5;
const PORT: u16 = 4242;
const OTHER_PORT: u16 = 4243;
/// Shorter than TCP waits before it sends its first segment again.
const SHORT: Duration = Duration::from_millis(500);

// Its program takes the debug kernel minutes to load.
case!(ports "tools::filter", "", filter; stock_only());
fn filter(bed: &Bed) -> Result<()> {
    let pins = Pins::watch()?;
    let port = &bed.b;

    bed.up_with_addresses()?;
    let traffic = Traffic::open(bed)?;
    run(
        port,
        &format!("xdp-filter load --mode native {}", port.name),
    )?;
    let status = Status::of(port)?;
    ensure_eq!(status.mode, "native", "xdp-loader status: mode");
    status.id_of("xdpfilt_alw_all")?;
    traffic.expect("without a rule", &[])?;
    traffic.expect_tcp("without a rule", true)?;

    name_what_is_dropped(bed, &traffic)?;
    run(port, &format!("xdp-filter unload {}", port.name))?;
    traffic.expect("unloaded", &[])?;
    let said = refusal(port, "xdp-filter status")?;
    ensure!(said.contains("not loaded"), "status when unloaded: {said}");
    pins.ensure_none()?;

    name_what_passes(port, &traffic)?;
    run(port, "xdp-filter unload --all")?;
    traffic.expect("unloaded again", &[])?;
    pins.ensure_none()?;

    let (a, b) = bed.settled()?;
    check_both(&a, &b)
}

/// One rule of each kind, removed again.
fn name_what_is_dropped(bed: &Bed, traffic: &Traffic<'_>) -> Result<()> {
    let port = &bed.b;
    let rules: [(String, &[Kind]); 4] = [
        (
            format!("port {PORT} --mode dst --proto udp"),
            &[Kind::V4, Kind::V6],
        ),
        (
            format!("ip {} --mode src", V4[0]),
            &[Kind::V4, Kind::V4Other],
        ),
        (format!("ip {} --mode dst", V6[1]), &[Kind::V6]),
        (
            format!("ether {} --mode src", mac_text(&bed.a.mac()?)),
            &[Kind::V4, Kind::V4Other, Kind::V6],
        ),
    ];

    for (rule, dropped) in rules {
        run(port, &format!("xdp-filter {rule}"))?;
        let hits = traffic.expect(&rule, dropped)?;
        expect_counted(port, &rule, hits)?;
        run(port, &format!("xdp-filter {rule} --remove"))?;
        traffic.expect(&format!("{rule}, removed"), &[])?;
    }

    // The protocol matters: the first rule was for datagrams, this one is for connections.
    let rule = format!("port {PORT} --mode dst --proto tcp");
    run(port, &format!("xdp-filter {rule}"))?;
    traffic.expect(&rule, &[])?;
    traffic.expect_tcp(&rule, false)?;
    expect_counted(port, &rule, 1)?;
    run(port, &format!("xdp-filter {rule} --remove"))?;
    traffic.expect_tcp(&format!("{rule}, removed"), true)
}

/// The other policy: what no rule names is dropped.
fn name_what_passes(port: &Port, traffic: &Traffic<'_>) -> Result<()> {
    run(
        port,
        &format!("xdp-filter load --mode native --policy deny {}", port.name),
    )?;
    Status::of(port)?.id_of("xdpfilt_dny_all")?;
    traffic.expect("deny all", &[Kind::V4, Kind::V4Other, Kind::V6])?;
    let rule = format!("port {PORT} --mode dst --proto udp");
    run(port, &format!("xdp-filter {rule}"))?;
    traffic.expect("deny all but a port", &[Kind::V4Other])?;
    // Two kinds go to that port.
    ensure_eq!(
        hits(&run(port, "xdp-filter status")?),
        [2 * COUNT],
        "{rule}: hit counters"
    );
    Ok(())
}

/// The only rule has this many hits, and the sums over all rules are those of the port's own
/// counters: it has had this filter and no other program so far.
fn expect_counted(port: &Port, rule: &str, expected: u64) -> Result<()> {
    let mut status = String::new();
    let mut different = String::new();

    // TCP sends a frame now and then, so the numbers may differ for a moment.
    wait_until("xdp-filter and the port count the same", || {
        status = run(port, "xdp-filter status")?;
        let counters = port.counters()?;
        let pairs = [
            ("XDP_PASS", counters.rx("xdp_pass")?),
            ("XDP_DROP", counters.rx("xdp_drop")?),
            ("XDP_ABORTED", counters.rx("xdp_aborted")?),
        ];

        different = format!("the port counts {pairs:?}");
        Ok(pairs
            .iter()
            .all(|(action, count)| packets(&status, action) == Some(*count)))
    })
    .with_context(|| format!("{different}, the filter {status}"))?;
    ensure_eq!(hits(&status), [expected], "{rule}: hit counters");
    Ok(())
}

/// `  XDP_DROP        3 pkts         0 KiB`
fn packets(status: &str, action: &str) -> Option<u64> {
    status.lines().find_map(|line| {
        let mut words = line.split_whitespace();

        (words.next() == Some(action)).then_some(())?;
        words.next()?.parse().ok()
    })
}

/// The hit counters of all rules: `  4242       dst,udp          1`.
fn hits(status: &str) -> Vec<u64> {
    status
        .lines()
        .filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();

            match words[..] {
                [_, modes, count] if modes.starts_with("src") || modes.starts_with("dst") => {
                    count.parse().ok()
                }
                _ => None,
            }
        })
        .collect()
}

/// Datagrams that are sent from A to B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// To [`PORT`].
    V4,
    /// To [`OTHER_PORT`].
    V4Other,
    /// To [`PORT`], over IPv6.
    V6,
}

const KINDS: [Kind; 3] = [Kind::V4, Kind::V4Other, Kind::V6];

struct Traffic<'a> {
    bed: &'a Bed,
    from_v4: UdpSocket,
    from_v6: UdpSocket,
    /// In the order of [`KINDS`].
    to: [UdpSocket; 3],
    listener: TcpListener,
}

impl<'a> Traffic<'a> {
    fn open(bed: &'a Bed) -> Result<Self> {
        let server: SocketAddr = format!("{}:{PORT}", V4[1]).parse()?;

        Ok(Self {
            bed,
            from_v4: udp(&bed.a, V4[0], 0)?,
            from_v6: udp(&bed.a, V6[0], 0)?,
            to: [
                udp(&bed.b, V4[1], PORT)?,
                udp(&bed.b, V4[1], OTHER_PORT)?,
                udp(&bed.b, V6[1], PORT)?,
            ],
            listener: bed.b.ns.enter(|| Ok(TcpListener::bind(server)?))?,
        })
    }

    fn drops(&self) -> Result<u64> {
        self.bed.b.counters()?.rx("xdp_drop")
    }

    /// Sends some of each kind: all arrive but those of the kinds that must be dropped. Returns how
    /// many frames the port has dropped.
    fn expect(&self, when: &str, dropped: &[Kind]) -> Result<u64> {
        let before = self.drops()?;
        let mut lost = 0;

        for (kind, to) in KINDS.into_iter().zip(&self.to) {
            let from = match kind {
                Kind::V6 => &self.from_v6,
                _ => &self.from_v4,
            };

            for n in 0..COUNT {
                from.send_to(&n.to_be_bytes(), to.local_addr()?)?;
            }
            if dropped.contains(&kind) {
                lost += COUNT;
                wait_until(&format!("{when}: {kind:?} is dropped"), || {
                    Ok(self.drops()? >= before + lost)
                })?;
                nothing_in(to).with_context(|| format!("{when}: {kind:?}"))?;
                continue;
            }
            for n in 0..COUNT {
                let mut found = [0; 8];

                to.recv(&mut found)
                    .with_context(|| format!("{when}: {kind:?}"))?;
                ensure_eq!(found, n.to_be_bytes(), "{when}: {kind:?}");
            }
        }
        ensure_eq!(self.drops()? - before, lost, "{when}: rx_queue_*_xdp_drop");
        Ok(lost)
    }

    /// Whether B's first TCP port can be reached.
    fn expect_tcp(&self, when: &str, reached: bool) -> Result<()> {
        let address = self.listener.local_addr()?;
        let before = self.drops()?;
        let patience = if reached {
            crate::host::PATIENCE
        } else {
            SHORT
        };
        let connected = self
            .bed
            .a
            .ns
            .enter(|| Ok(TcpStream::connect_timeout(&address, patience)))?;

        match connected {
            Ok(_) => {
                self.listener.accept()?;
                ensure!(reached, "{when}: TCP got through");
            }
            Err(e) => {
                ensure!(!reached && e.kind() == ErrorKind::TimedOut, "{when}: {e}");
                wait_until(&format!("{when}: TCP is dropped"), || {
                    Ok(self.drops()? > before)
                })?;
            }
        }
        Ok(())
    }
}

fn nothing_in(socket: &UdpSocket) -> Result<()> {
    socket.set_nonblocking(true)?;
    let found = socket.recv(&mut [0; 8]);
    socket.set_nonblocking(false)?;

    match found {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(()),
        found => anyhow::bail!("expected nothing, found {found:?}"),
    }
}
