// SPDX-License-Identifier: GPL-2.0

//! What is measured: what sends, and what the receiving port does.

use crate::{pktgen::Pktgen, xsk};
use oxnic_drop_points::place::Place;
use oxnic_xsk::Mode;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// sk_buffs, one or a burst per call.
    Pktgen(Pktgen),
    /// sk_buffs, 64 in one softirq.
    Bulk { size: u32 },
    /// Frames, 64 in one call of ndo_xdp_xmit.
    XdpXmit { size: u32 },
    /// An AF_XDP socket, 64 frames in one system call.
    Xsk { size: u32, mode: Mode },
}

impl Source {
    /// Whether a scenario is charged for what its source costs alone: a program in user space that
    /// sends is a part of what is measured.
    pub fn is_charged(&self) -> bool {
        matches!(self, Self::Xsk { .. })
    }

    pub fn title(&self) -> String {
        match self {
            Self::Pktgen(Pktgen {
                size, clone, burst, ..
            }) if *clone > 0 => {
                format!("pktgen, clone_skb {clone}, burst {burst}, {size} bytes")
            }
            Self::Pktgen(Pktgen { size, .. }) => format!("pktgen, {size} bytes"),
            Self::Bulk { size } => format!("bulk, {size} bytes"),
            Self::XdpXmit { size } => format!("xdp_xmit, {size} bytes"),
            Self::Xsk { size, mode } => {
                let mode = if *mode == Mode::Copy {
                    "copy mode"
                } else {
                    "zero-copy"
                };

                format!("AF_XDP socket, {mode}, {size} bytes")
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gro {
    On,
    Off,
}

/// oxnic has GRO on by default and veth has it off, so XDP_PASS is compared with both alike as well:
/// the end of a scenario's name, and a title.
pub const PASSES: [(&str, &str, Gro); 2] = [
    (
        "pass-gro-off",
        "native XDP_PASS, GRO off, dropped in ip_rcv",
        Gro::Off,
    ),
    (
        "pass-gro-on",
        "native XDP_PASS, GRO on, dropped in ip_rcv",
        Gro::On,
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// No program; the stack drops the frames in ip_rcv, as they are for another.
    Stack,
    /// Dropped. The later places have frames for this host, which would reach a socket.
    At(Place),
    /// Dropped by a program that takes frames in several buffers, at an MTU to match.
    DropJumbo,
    /// As `Stack`, but through a program. Whether the port has GRO on is its own default, or given.
    Pass(Option<Gro>),
    /// Back to the sender, where a program drops.
    Tx,
    RedirectNull,
    /// To another port of the same kind, at whose peer a program drops.
    RedirectPort,
    Cpumap,
    /// To an AF_XDP socket, which has buffers for all frames.
    Xsk(Mode),
    /// The same; then the socket sends them back to the sender, where a program drops.
    XskForward(Mode),
}

impl Sink {
    /// Whether the frames are for this host.
    pub fn is_local(self) -> bool {
        matches!(self, Self::At(place) if !matches!(place, Place::NativeXdp | Place::GenericXdp))
    }

    /// Whether the frames end in the stack because they are for another host.
    pub fn is_for_others(self) -> bool {
        matches!(self, Self::Stack | Self::Pass(_) | Self::Cpumap)
    }
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    pub title: String,
    pub source: Source,
    pub sink: Sink,
    /// The most that oxnic may cost, as a part of what veth costs.
    pub goal: Option<f64>,
    /// Whether a profile by function is made.
    pub profile: bool,
}

/// The sources whose frames meet all verdicts: the beginning of a scenario's name, and a title.
pub const SOURCES: [(&str, &str); 3] = [
    ("pktgen", "pktgen: one sk_buff per call"),
    ("bulk", "bulk: 64 sk_buffs in one softirq"),
    ("xdp-xmit", "xdp_xmit: 64 redirected frames"),
];

/// The same verdicts for all sources, with the goals for pktgen, bulk and xdp_xmit.
pub const SINKS: [(&str, &str, Sink, [Option<f64>; 3]); 8] = [
    (
        "stack",
        "no program, dropped in ip_rcv",
        Sink::Stack,
        [None, None, None],
    ),
    (
        "drop",
        "native XDP_DROP",
        Sink::At(Place::NativeXdp),
        [Some(0.20), Some(0.45), Some(0.75)],
    ),
    (
        "pass",
        "native XDP_PASS, dropped in ip_rcv",
        Sink::Pass(None),
        [Some(0.45), None, Some(0.70)],
    ),
    (
        "tx",
        "native XDP_TX, dropped by XDP at the sender",
        Sink::Tx,
        [Some(0.25), None, Some(0.75)],
    ),
    (
        "redirect",
        "native XDP_REDIRECT to a null device",
        Sink::RedirectNull,
        [Some(0.25), None, Some(0.75)],
    ),
    (
        "redirect-port",
        "native XDP_REDIRECT to another port",
        Sink::RedirectPort,
        [None, None, None],
    ),
    (
        "cpumap",
        "native XDP_REDIRECT to a cpumap, dropped in ip_rcv",
        Sink::Cpumap,
        [None, None, None],
    ),
    (
        "generic-drop",
        "generic XDP_DROP",
        Sink::At(Place::GenericXdp),
        [None, None, None],
    ),
];

/// Where frames can be dropped, the earliest first, with the end of a scenario's name. The first
/// two are among the verdicts.
pub const PLACES: [(&str, Place); 7] = [
    ("drop", Place::NativeXdp),
    ("generic-drop", Place::GenericXdp),
    ("tcx", Place::Tcx),
    ("nft-ingress", Place::NftIngress),
    ("nft-prerouting", Place::NftPrerouting),
    ("nft-input", Place::NftInput),
    ("socket-filter", Place::SocketFilter),
];

/// All scenarios whose name contains `filter`.
pub fn all(filter: &str) -> Vec<Scenario> {
    let mut list = Vec::new();
    let sources = [
        Source::Pktgen(Pktgen::new(60)),
        Source::Bulk { size: 60 },
        Source::XdpXmit { size: 60 },
    ];

    for (index, (source, (source_name, _))) in sources.iter().zip(SOURCES).enumerate() {
        for (name, title, sink, goals) in SINKS {
            list.push(Scenario {
                name: format!("{source_name}-{name}"),
                title: title.into(),
                source: *source,
                sink,
                goal: goals[index],
                profile: true,
            });
        }
        for (name, title, gro) in PASSES {
            list.push(Scenario {
                name: format!("{source_name}-{name}"),
                title: title.into(),
                source: *source,
                sink: Sink::Pass(Some(gro)),
                goal: None,
                profile: false,
            });
        }
    }
    for (name, title, pktgen) in [
        (
            "clone",
            "clone_skb 1000",
            Pktgen {
                clone: 1000,
                ..Pktgen::new(60)
            },
        ),
        (
            "burst",
            "burst 32",
            Pktgen {
                clone: 1000,
                burst: 32,
                ..Pktgen::new(60)
            },
        ),
    ] {
        list.push(Scenario {
            name: format!("pktgen-{name}-drop"),
            title: format!("native XDP_DROP, {title}"),
            source: Source::Pktgen(pktgen),
            sink: Sink::At(Place::NativeXdp),
            goal: None,
            profile: name == "burst",
        });
    }
    for size in [512, 1500, 9000] {
        list.push(Scenario {
            name: format!("pktgen-{size}-drop"),
            title: format!("native XDP_DROP, {size} bytes"),
            source: Source::Pktgen(Pktgen::new(size)),
            sink: if size > 1500 {
                Sink::DropJumbo
            } else {
                Sink::At(Place::NativeXdp)
            },
            goal: (size == 1500).then_some(0.25),
            profile: false,
        });
    }
    for size in [512, 1500] {
        list.push(Scenario {
            name: format!("bulk-{size}-drop"),
            title: format!("native XDP_DROP, {size} bytes"),
            source: Source::Bulk { size },
            sink: Sink::At(Place::NativeXdp),
            goal: None,
            profile: false,
        });
        list.push(Scenario {
            name: format!("xdp-xmit-{size}-drop"),
            title: format!("native XDP_DROP, {size} bytes"),
            source: Source::XdpXmit { size },
            sink: Sink::At(Place::NativeXdp),
            goal: None,
            profile: false,
        });
    }
    for (source, (source_name, _)) in sources[..2].iter().zip(SOURCES) {
        for (name, place) in &PLACES[2..] {
            list.push(Scenario {
                name: format!("{source_name}-{name}"),
                title: format!("dropped by {}", place.title()),
                source: *source,
                sink: Sink::At(*place),
                goal: None,
                profile: false,
            });
        }
    }
    list.extend(xsk::scenarios());
    list.retain(|scenario| scenario.name.contains(filter));
    list
}
