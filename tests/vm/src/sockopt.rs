// SPDX-License-Identifier: GPL-2.0

//! Socket options that nix does not name.

use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};

sockopt_impl!(
    /// A packet socket does not see what its own side sends.
    IgnoreOutgoing,
    SetOnly,
    libc::SOL_PACKET,
    libc::PACKET_IGNORE_OUTGOING,
    bool
);
sockopt_impl!(
    /// Every frame of a packet socket has a `struct virtio_net_hdr` in front.
    VnetHdr,
    SetOnly,
    libc::SOL_PACKET,
    libc::PACKET_VNET_HDR,
    bool
);
sockopt_impl!(
    /// Frames received and lost since the last call.
    PacketStatistics,
    GetOnly,
    libc::SOL_PACKET,
    libc::PACKET_STATISTICS,
    libc::tpacket_stats
);
sockopt_impl!(
    /// Lets `MSG_ZEROCOPY` send the caller's pages.
    ZeroCopy,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_ZEROCOPY,
    bool
);
sockopt_impl!(
    /// What a packet socket sends goes to the driver without a queueing discipline.
    QdiscBypass,
    SetOnly,
    libc::SOL_PACKET,
    libc::PACKET_QDISC_BYPASS,
    bool
);
sockopt_impl!(
    /// Every packet has an IPv6 header of destination options.
    DestinationOptions,
    SetOnly,
    libc::IPPROTO_IPV6,
    libc::IPV6_DSTOPTS,
    [u8; 8]
);
sockopt_impl!(
    /// For how many microseconds a socket polls its queue itself before it sleeps.
    BusyPoll,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_BUSY_POLL,
    u32
);
sockopt_impl!(
    /// While a socket polls, interrupts are kept off.
    PreferBusyPoll,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_PREFER_BUSY_POLL,
    bool
);
sockopt_impl!(
    /// The NAPI by which the last packet came.
    IncomingNapiId,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_INCOMING_NAPI_ID,
    u32
);
sockopt_impl!(
    /// What a socket has in use: numbers of bytes, as `SK_MEMINFO_` says which.
    MemInfo,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_MEMINFO,
    [u32; 9]
);
