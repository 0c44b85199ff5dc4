// SPDX-License-Identifier: GPL-2.0

//! A link as rtnetlink shows it, and the attachment of XDP programs to it.

use super::{attr, number, Attrs, Socket};
use anyhow::{anyhow, Result};
use nix::libc;
use std::os::fd::{AsRawFd, BorrowedFd};

const IFLA_STATS64: u16 = 23;
const IFLA_XDP: u16 = 43;
const IFLA_MIN_MTU: u16 = 50;
const IFLA_MAX_MTU: u16 = 51;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFLA_XDP_EXPECTED_FD: u16 = 8;
const IF_OPER_UP: u64 = 6;
/// Size of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;

pub const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1 << 0;
pub const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
pub const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
pub const XDP_FLAGS_HW_MODE: u32 = 1 << 3;
pub const XDP_FLAGS_REPLACE: u32 = 1 << 4;

/// `struct rtnl_link_stats64` by the names of its fields.
const STATS: [&str; 25] = [
    "rx_packets",
    "tx_packets",
    "rx_bytes",
    "tx_bytes",
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
    "multicast",
    "collisions",
    "rx_length_errors",
    "rx_over_errors",
    "rx_crc_errors",
    "rx_frame_errors",
    "rx_fifo_errors",
    "rx_missed_errors",
    "tx_aborted_errors",
    "tx_carrier_errors",
    "tx_fifo_errors",
    "tx_heartbeat_errors",
    "tx_window_errors",
    "rx_compressed",
    "tx_compressed",
    "rx_nohandler",
    "rx_otherhost_dropped",
];

/// What the kernel says about a link.
#[derive(Debug)]
pub struct Link {
    /// `IFF_UP`: it was told to be up.
    pub up: bool,
    pub mtu: u64,
    pub min_mtu: u64,
    pub max_mtu: u64,
    pub mac: Vec<u8>,
    /// The device reports carrier.
    pub carrier: bool,
    /// The stack has taken the carrier into account: queues are active.
    pub running: bool,
    /// The `IFLA_XDP_ATTACHED` mode: 0 none, 1 driver, 2 generic.
    pub xdp_mode: u64,
    pub xdp_driver_id: Option<u32>,
    pub xdp_generic_id: Option<u32>,
    stats: Vec<u64>,
}

impl Link {
    /// Asks for a link of the calling thread's namespace.
    pub fn get(ifindex: u32) -> Result<Self> {
        let answers = Socket::route()?.request(
            libc::RTM_GETLINK,
            0,
            &ifinfomsg(ifindex, Attrs::default()),
        )?;
        let answer = answers
            .first()
            .ok_or_else(|| anyhow!("no link {ifindex}"))?;
        let body = &answer[IFINFOMSG..];
        let value = |kind| attr(body, kind).map_or(Ok(0), number);
        let xdp = attr(body, IFLA_XDP).unwrap_or_default();
        let id = |kind| -> Result<Option<u32>> {
            Ok(attr(xdp, kind).map(number).transpose()?.map(|n| n as u32))
        };

        let flags = u32::try_from(number(&answer[8..12])?)?;

        Ok(Self {
            up: flags & libc::IFF_UP as u32 != 0,
            mtu: value(libc::IFLA_MTU)?,
            min_mtu: value(IFLA_MIN_MTU)?,
            max_mtu: value(IFLA_MAX_MTU)?,
            mac: attr(body, libc::IFLA_ADDRESS).unwrap_or_default().to_vec(),
            carrier: value(libc::IFLA_CARRIER)? == 1,
            running: value(libc::IFLA_OPERSTATE)? == IF_OPER_UP,
            xdp_mode: attr(xdp, IFLA_XDP_ATTACHED).map_or(Ok(0), number)?,
            xdp_driver_id: id(IFLA_XDP_DRV_PROG_ID)?,
            xdp_generic_id: id(IFLA_XDP_SKB_PROG_ID)?,
            stats: attr(body, IFLA_STATS64)
                .unwrap_or_default()
                .chunks_exact(8)
                .map(number)
                .collect::<Result<_>>()?,
        })
    }

    /// A counter of `ip -s -s link` by the name of its field in `struct rtnl_link_stats64`.
    pub fn stat(&self, name: &str) -> Result<u64> {
        STATS
            .iter()
            .position(|n| *n == name)
            .and_then(|at| self.stats.get(at).copied())
            .ok_or_else(|| anyhow!("the kernel gave no link counter {name}"))
    }
}

/// Attaches a program (`None` detaches) to a link of the calling thread's namespace, as
/// `bpf_xdp_attach` does. `expected` is the program that must be attached now; it takes effect
/// with `XDP_FLAGS_REPLACE`, where `Some(None)` stands for "no program".
pub fn set_xdp(
    ifindex: u32,
    program: Option<BorrowedFd<'_>>,
    flags: u32,
    expected: Option<Option<BorrowedFd<'_>>>,
) -> Result<()> {
    let raw = |fd: Option<BorrowedFd<'_>>| fd.map_or(-1, |fd| fd.as_raw_fd()).to_ne_bytes();
    let mut xdp = Attrs::default()
        .put(IFLA_XDP_FD, &raw(program))
        .put_u32(IFLA_XDP_FLAGS, flags);

    if let Some(old) = expected {
        xdp = xdp.put(IFLA_XDP_EXPECTED_FD, &raw(old));
    }
    set(&ifinfomsg(ifindex, Attrs::default().nest(IFLA_XDP, xdp)))
}

/// Sets the MTU of a link of the calling thread's namespace.
pub fn set_mtu(ifindex: u32, mtu: u32) -> Result<()> {
    set(&ifinfomsg(
        ifindex,
        Attrs::default().put_u32(libc::IFLA_MTU, mtu),
    ))
}

/// Makes a link of the calling thread's namespace go up or down.
pub fn set_up(ifindex: u32, up: bool) -> Result<()> {
    let mut body = ifinfomsg(ifindex, Attrs::default());
    let bit = libc::IFF_UP as u32;

    body[8..12].copy_from_slice(&if up { bit } else { 0 }.to_ne_bytes());
    body[12..16].copy_from_slice(&bit.to_ne_bytes());
    set(&body)
}

/// Moves a link of the calling thread's namespace to another one, and says how many frames may wait
/// there to be sent.
pub fn set_netns(ifindex: u32, ns: BorrowedFd<'_>, tx_queue_len: u32) -> Result<()> {
    set(&ifinfomsg(
        ifindex,
        Attrs::default()
            .put(libc::IFLA_NET_NS_FD, &ns.as_raw_fd().to_ne_bytes())
            .put_u32(libc::IFLA_TXQLEN, tx_queue_len),
    ))
}

fn set(body: &[u8]) -> Result<()> {
    Socket::route()?
        .request(libc::RTM_SETLINK, 0, body)
        .map(drop)
}

/// Makes a link in the calling thread's namespace, unless there is one of its name; `data` are
/// settings of the kind.
pub fn add(attrs: Attrs, kind: &str, data: Option<Attrs>) -> Result<()> {
    let mut info = Attrs::default().put(IFLA_INFO_KIND, kind.as_bytes());

    if let Some(data) = data {
        info = info.nest(IFLA_INFO_DATA, data);
    }
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let body = ifinfomsg(0, attrs.nest(libc::IFLA_LINKINFO, info));

    Socket::route()?
        .request(libc::RTM_NEWLINK, flags, &body)
        .map(drop)
}

/// Makes a port of oxnic in the calling thread's namespace: alone, or joined with the port `peer`
/// there.
pub fn add_port(name: &str, peer: Option<u32>) -> Result<()> {
    let mut attrs = Attrs::default().put(libc::IFLA_IFNAME, format!("{name}\0").as_bytes());

    if let Some(ifindex) = peer {
        attrs = attrs.put_u32(libc::IFLA_LINK, ifindex);
    }
    add(attrs, "oxnic", None)
}

/// Deletes a link of the calling thread's namespace.
pub fn delete(ifindex: u32) -> Result<()> {
    Socket::route()?
        .request(libc::RTM_DELLINK, 0, &ifinfomsg(ifindex, Attrs::default()))
        .map(drop)
}

fn ifinfomsg(ifindex: u32, attrs: Attrs) -> Vec<u8> {
    let mut body = vec![0; IFINFOMSG];

    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    body.extend(attrs.0);
    body
}
