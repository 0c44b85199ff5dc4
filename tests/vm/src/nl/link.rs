// SPDX-License-Identifier: GPL-2.0

//! Links by rtnetlink: what the kernel says about one, and requests that make, change and delete
//! one, XDP programs included.

use super::route;
use anyhow::{anyhow, Result};
use netlink_packet_core::{parse_u32, Nla, NLM_F_CREATE, NLM_F_EXCL};
pub use netlink_packet_route::link::{LinkAttribute, LinkFlags, XdpAttached};
use netlink_packet_route::{
    link::{
        BondMode, InfoBond, InfoBridge, InfoData, InfoKind, InfoMacVlan, InfoVeth, InfoVlan,
        LinkHeader, LinkInfo, LinkMessage, LinkXdp, MacVlanMode, State, Stats64, VlanProtocol,
        VlanQosMapping,
    },
    RouteNetlinkMessage,
};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

const IFLA_TSO_MAX_SEGS: u16 = 60;
/// Stands for "no program" where a request has a program's descriptor.
const NO_PROGRAM: RawFd = -1;

pub const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1 << 0;
pub const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
pub const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
pub const XDP_FLAGS_HW_MODE: u32 = 1 << 3;
pub const XDP_FLAGS_REPLACE: u32 = 1 << 4;

/// What the kernel says about a link.
#[derive(Debug)]
pub struct Link {
    /// `IFF_UP`: it was told to be up.
    pub up: bool,
    /// `IFF_PROMISC` and `IFF_ALLMULTI`: the user has set these modes.
    pub promisc: bool,
    pub allmulticast: bool,
    /// How many want it to be promiscuous: the user, packet sockets, a bridge.
    pub promiscuity: u32,
    pub mtu: u32,
    pub min_mtu: u32,
    pub max_mtu: u32,
    pub mac: Vec<u8>,
    /// The device reports carrier.
    pub carrier: bool,
    /// The stack has taken the carrier into account: queues are active.
    pub running: bool,
    /// The other end of a wire, or what the link is on top of; 0 is none.
    pub link: Option<u32>,
    /// Into how many segments the device, and the stack in front of it, cut a large frame at most.
    pub tso_max_segs: u32,
    pub gso_max_segs: u32,
    /// The port that a bond uses.
    pub active_port: Option<u32>,
    pub xdp_mode: XdpAttached,
    pub xdp_driver_id: Option<u32>,
    pub xdp_generic_id: Option<u32>,
    stats: Stats64,
}

impl Link {
    /// Asks for a link of the calling thread's namespace.
    pub fn get(ifindex: u32) -> Result<Self> {
        let request = RouteNetlinkMessage::GetLink(message(ifindex, vec![]));
        let answer = route(request, 0)?.into_iter().next();
        let Some(RouteNetlinkMessage::NewLink(LinkMessage {
            header, attributes, ..
        })) = answer
        else {
            return Err(anyhow!("no link {ifindex}"));
        };
        let mut link = Self::of(&header);

        for attribute in attributes {
            link.note(attribute)?;
        }
        Ok(link)
    }

    fn of(header: &LinkHeader) -> Self {
        Self {
            up: header.flags.contains(LinkFlags::Up),
            promisc: header.flags.contains(LinkFlags::Promisc),
            allmulticast: header.flags.contains(LinkFlags::Allmulti),
            promiscuity: 0,
            mtu: 0,
            min_mtu: 0,
            max_mtu: 0,
            mac: vec![],
            carrier: false,
            running: false,
            link: None,
            tso_max_segs: 0,
            gso_max_segs: 0,
            active_port: None,
            xdp_mode: XdpAttached::None,
            xdp_driver_id: None,
            xdp_generic_id: None,
            stats: Stats64::default(),
        }
    }

    fn note(&mut self, attribute: LinkAttribute) -> Result<()> {
        match attribute {
            LinkAttribute::Promiscuity(count) => self.promiscuity = count,
            LinkAttribute::Mtu(mtu) => self.mtu = mtu,
            LinkAttribute::MinMtu(mtu) => self.min_mtu = mtu,
            LinkAttribute::MaxMtu(mtu) => self.max_mtu = mtu,
            LinkAttribute::Address(mac) => self.mac = mac,
            LinkAttribute::Carrier(carrier) => self.carrier = carrier == 1,
            LinkAttribute::OperState(state) => self.running = state == State::Up,
            LinkAttribute::Link(ifindex) => self.link = Some(ifindex),
            LinkAttribute::GsoMaxSegs(most) => self.gso_max_segs = most,
            LinkAttribute::Stats64(stats) => self.stats = stats,
            LinkAttribute::Xdp(xdp) => xdp.into_iter().for_each(|xdp| self.note_xdp(xdp)),
            LinkAttribute::LinkInfo(infos) => {
                self.active_port = infos.iter().find_map(active_port);
            }
            LinkAttribute::Other(nla) if nla.kind() == IFLA_TSO_MAX_SEGS => {
                let mut value = vec![0; nla.value_len()];

                nla.emit_value(&mut value);
                self.tso_max_segs = parse_u32(&value)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn note_xdp(&mut self, xdp: LinkXdp) {
        match xdp {
            LinkXdp::Attached(mode) => self.xdp_mode = mode,
            LinkXdp::DrvProgId(id) => self.xdp_driver_id = Some(id),
            LinkXdp::SkbProgId(id) => self.xdp_generic_id = Some(id),
            _ => {}
        }
    }

    /// A counter of `ip -s -s link` by the name of its field in `struct rtnl_link_stats64`.
    pub fn stat(&self, name: &str) -> Result<u64> {
        let stats = &self.stats;

        Ok(match name {
            "rx_packets" => stats.rx_packets,
            "tx_packets" => stats.tx_packets,
            "rx_bytes" => stats.rx_bytes,
            "tx_bytes" => stats.tx_bytes,
            "rx_errors" => stats.rx_errors,
            "tx_errors" => stats.tx_errors,
            "rx_dropped" => stats.rx_dropped,
            "tx_dropped" => stats.tx_dropped,
            "rx_length_errors" => stats.rx_length_errors,
            "rx_missed_errors" => stats.rx_missed_errors,
            "tx_carrier_errors" => stats.tx_carrier_errors,
            "rx_otherhost_dropped" => stats.rx_otherhost_dropped,
            _ => return Err(anyhow!("no test asks for the link counter {name}")),
        })
    }
}

fn active_port(info: &LinkInfo) -> Option<u32> {
    let LinkInfo::Data(InfoData::Bond(settings)) = info else {
        return None;
    };

    settings.iter().find_map(|setting| match setting {
        InfoBond::ActivePort(ifindex) => Some(*ifindex),
        _ => None,
    })
}

/// A link that is to be made.
#[derive(Clone)]
pub struct New {
    attributes: Vec<LinkAttribute>,
    kind: InfoKind,
    /// Settings of the kind.
    data: Option<InfoData>,
}

impl New {
    fn of(kind: InfoKind, data: InfoData) -> Self {
        Self {
            attributes: vec![],
            kind,
            data: Some(data),
        }
    }

    /// A port of oxnic without a peer.
    pub fn port() -> Self {
        Self {
            attributes: vec![],
            kind: InfoKind::Other("oxnic".to_owned()),
            data: None,
        }
    }

    /// A port of oxnic that is joined with the port `peer` of the same namespace.
    pub fn peer_of(peer: u32) -> Self {
        Self::port().with(LinkAttribute::Link(peer))
    }

    /// A VLAN device on top of a link, for tags with the EtherType `protocol`.
    pub fn vlan(below: u32, protocol: u16, id: u16) -> Self {
        let data = vec![
            InfoVlan::Id(id),
            InfoVlan::Protocol(VlanProtocol::from(protocol)),
        ];

        Self::of(InfoKind::Vlan, InfoData::Vlan(data)).with(LinkAttribute::Link(below))
    }

    /// Makes a VLAN device put a priority into the tags of what the stack sends.
    pub fn priority(mut self, priority: u32) -> Self {
        if let Some(InfoData::Vlan(data)) = &mut self.data {
            data.push(InfoVlan::EgressQos(vec![VlanQosMapping::Mapping(
                0, priority,
            )]));
        }
        self
    }

    /// A bridge that says nothing itself.
    pub fn bridge() -> Self {
        let data = vec![InfoBridge::MulticastSnooping(0)];

        Self::of(InfoKind::Bridge, InfoData::Bridge(data))
    }

    /// A bond that uses one of its ports, and looks for its carrier every so many milliseconds.
    pub fn bond(millis: u32) -> Self {
        let data = vec![
            InfoBond::Mode(BondMode::ActiveBackup),
            InfoBond::MiiMon(millis),
        ];

        Self::of(InfoKind::Bond, InfoData::Bond(data))
    }

    /// Another device on top of a link, with an address of its own.
    pub fn macvlan(below: u32) -> Self {
        let data = vec![InfoMacVlan::Mode(MacVlanMode::Bridge)];

        Self::of(InfoKind::MacVlan, InfoData::MacVlan(data)).with(LinkAttribute::Link(below))
    }

    /// A veth and its peer, both with this MTU.
    pub fn veth(peer: &str, mtu: u32) -> Self {
        let of_both = LinkAttribute::Mtu(mtu);
        let name = LinkAttribute::IfName(peer.to_owned());
        let data = InfoVeth::Peer(message(0, vec![name, of_both.clone()]));

        Self::of(InfoKind::Veth, InfoData::Veth(data)).with(of_both)
    }

    pub fn with(mut self, attribute: LinkAttribute) -> Self {
        self.attributes.push(attribute);
        self
    }

    /// Makes it, with `bytes` as settings of its kind.
    pub fn with_data(self, bytes: Vec<u8>) -> Self {
        Self {
            data: Some(InfoData::Other(bytes)),
            ..self
        }
    }

    /// Makes it with so many receive queues, and as many transmit queues.
    pub fn queues(self, count: u32) -> Self {
        self.with(LinkAttribute::NumRxQueues(count))
            .with(LinkAttribute::NumTxQueues(count))
    }

    pub fn mtu(self, mtu: u32) -> Self {
        self.with(LinkAttribute::Mtu(mtu))
    }

    /// Makes it in another namespace.
    pub fn in_ns(self, ns: BorrowedFd<'_>) -> Self {
        self.with(LinkAttribute::NetNsFd(ns.as_raw_fd()))
    }

    /// Makes it in the calling thread's namespace, unless there is one of its name.
    pub fn add(self, name: &str) -> Result<()> {
        self.with(LinkAttribute::IfName(name.to_owned())).add_any()
    }

    /// Makes it with a name that the kernel chooses, unless it has one.
    pub fn add_any(self) -> Result<()> {
        let Self {
            mut attributes,
            kind,
            data,
        } = self;
        let mut infos = vec![LinkInfo::Kind(kind)];

        infos.extend(data.map(LinkInfo::Data));
        attributes.push(LinkAttribute::LinkInfo(infos));
        route(
            RouteNetlinkMessage::NewLink(message(0, attributes)),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .map(drop)
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
    let raw = |fd: Option<BorrowedFd<'_>>| fd.map_or(NO_PROGRAM, |fd| fd.as_raw_fd());
    let mut xdp = vec![LinkXdp::Fd(raw(program)), LinkXdp::Flags(flags)];

    xdp.extend(expected.map(|old| LinkXdp::ExpectedFd(raw(old) as u32)));
    change(ifindex, LinkAttribute::Xdp(xdp))
}

/// Changes a setting of a link of the calling thread's namespace.
pub fn change(ifindex: u32, attribute: LinkAttribute) -> Result<()> {
    set(message(ifindex, vec![attribute]))
}

/// Sets or clears flags of a link of the calling thread's namespace.
pub fn set_flags(ifindex: u32, flags: LinkFlags, on: bool) -> Result<()> {
    let mut message = message(ifindex, vec![]);

    if on {
        message.header.flags = flags;
    }
    message.header.change_mask = flags;
    set(message)
}

/// Makes a link of the calling thread's namespace go up or down.
pub fn set_up(ifindex: u32, up: bool) -> Result<()> {
    set_flags(ifindex, LinkFlags::Up, up)
}

/// Moves a link of the calling thread's namespace to another one, and says how many frames may wait
/// there to be sent.
pub fn set_netns(ifindex: u32, ns: BorrowedFd<'_>, tx_queue_len: u32) -> Result<()> {
    let attributes = vec![
        LinkAttribute::NetNsFd(ns.as_raw_fd()),
        LinkAttribute::TxQueueLen(tx_queue_len),
    ];

    set(message(ifindex, attributes))
}

/// Deletes a link of the calling thread's namespace.
pub fn delete(ifindex: u32) -> Result<()> {
    route(RouteNetlinkMessage::DelLink(message(ifindex, vec![])), 0).map(drop)
}

fn set(message: LinkMessage) -> Result<()> {
    route(RouteNetlinkMessage::SetLink(message), 0).map(drop)
}

fn message(ifindex: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();

    message.header.index = ifindex;
    message.attributes = attributes;
    message
}
