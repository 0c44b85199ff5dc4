// SPDX-License-Identifier: GPL-2.0

//! The settings with which a driver allocates a device.

use crate::bindings;

/// The settings with which a device is allocated. A driver changes those of [`Config::DEFAULT`].
pub(crate) struct Config {
    /// Largest MTU that the device supports, in bytes.
    pub(crate) max_mtu: u32,
    /// Features that are on unless the user switches them off: bits of [`feature`].
    pub(crate) features: u64,
    /// Features that are off unless the user switches them on.
    pub(crate) more_features: u64,
    /// Those of `features` that also work for frames with a VLAN tag, in the frame or next to it
    /// (`vlan_features`). The stack does the others in software before it sends such a frame.
    pub(crate) vlan_features: u64,
    /// The XDP features that the device announces in netlink ([`xdp::feature`]).
    ///
    /// [`xdp::feature`]: crate::net::xdp::feature
    pub(crate) xdp_features: u32,
    /// Largest number of buffers of a frame of an AF_XDP socket in zero-copy mode
    /// (`xdp_zc_max_segs`); at least 1.
    pub(crate) xsk_max_buffers: u32,
    /// Whether the device does what AF_XDP sockets request for a frame that they send: fill in a
    /// checksum, report the time of sending, send it at a given time (`xsk_tx_metadata_ops`;
    /// [`xsk::TxRequest`](crate::net::xsk::TxRequest)).
    pub(crate) xsk_tx_metadata: bool,
    /// How long a transmit queue may be stopped before [`Ops::tx_timeout`] is called, in
    /// milliseconds (`watchdog_timeo`).
    ///
    /// [`Ops::tx_timeout`]: super::Ops::tx_timeout
    pub(crate) tx_timeout_ms: u32,
    /// Whether the device starts with a random address (`eth_hw_addr_random`). If not, the
    /// interface cannot go up until the driver or the user has set an address.
    pub(crate) random_address: bool,
    /// Whether the address may change while the interface is up (`IFF_LIVE_ADDR_CHANGE`).
    pub(crate) live_address_change: bool,
    /// Whether `start_xmit` may get an skb to which others have references
    /// (`IFF_TX_SKB_SHARING`), as pktgen sends it: for a driver that does not modify an skb and
    /// does not keep it.
    pub(crate) tx_skb_sharing: bool,
    /// Whether the kernel calls the callbacks of the control path under the instance lock of the
    /// device (`request_ops_lock`); some of them then come without RTNL. A device with
    /// [`Ops::QUEUE_MGMT`] has the lock in any case (`netdev_need_ops_lock`).
    ///
    /// [`Ops::QUEUE_MGMT`]: super::Ops::QUEUE_MGMT
    pub(crate) instance_lock: bool,
    /// Whether netpoll, and with it netconsole, may use the device.
    pub(crate) netpoll: Netpoll,
}

impl Config {
    /// An Ethernet device without offloads and XDP, with a random address.
    pub(crate) const DEFAULT: Self = Self {
        max_mtu: bindings::ETH_DATA_LEN,
        features: 0,
        more_features: 0,
        vlan_features: 0,
        xdp_features: 0,
        xsk_max_buffers: 1,
        xsk_tx_metadata: false,
        tx_timeout_ms: 5000,
        random_address: true,
        live_address_change: false,
        tx_skb_sharing: false,
        instance_lock: true,
        netpoll: Netpoll::Refused,
    };
}

/// Whether netpoll may use a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Netpoll {
    /// No (`IFF_DISABLE_NETPOLL`).
    Refused,
    /// Yes.
    Accepted(NetpollProof),
}

/// Proof that the driver supports netpoll; see [`Netpoll::accepted`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct NetpollProof(());

impl Netpoll {
    /// Lets netpoll use the device.
    ///
    /// # Safety
    ///
    /// netpoll calls [`Ops::start_xmit`], and polls with a budget of 0, wherever a message is
    /// printed: also in a hard interrupt in the middle of a poll of the same device. There the
    /// proof [`bh::Disabled`] promises too much. So in `start_xmit`, and in a poll with a budget of
    /// 0, the driver must not take a lock that others take with only bottom halves off, nor return
    /// a page to a page_pool.
    ///
    /// [`Ops::start_xmit`]: super::Ops::start_xmit
    /// [`bh::Disabled`]: crate::net::bh::Disabled
    pub(crate) const unsafe fn accepted() -> Self {
        Self::Accepted(NetpollProof(()))
    }
}

impl Config {
    /// The private flags of the device (`enum netdev_priv_flags`). `filters_unicast`: the device
    /// has a filter for unicast addresses. If not, the kernel makes it promiscuous when it needs
    /// one.
    pub(super) const fn priv_flags(&self, filters_unicast: bool) -> u32 {
        const fn flag(set: bool, flag: bindings::netdev_priv_flags) -> u32 {
            if set {
                flag
            } else {
                0
            }
        }
        flag(
            self.live_address_change,
            bindings::netdev_priv_flags_IFF_LIVE_ADDR_CHANGE,
        ) | flag(
            self.tx_skb_sharing,
            bindings::netdev_priv_flags_IFF_TX_SKB_SHARING,
        ) | flag(
            matches!(self.netpoll, Netpoll::Refused),
            bindings::netdev_priv_flags_IFF_DISABLE_NETPOLL,
        ) | flag(filters_unicast, bindings::netdev_priv_flags_IFF_UNICAST_FLT)
    }
}

/// Bits of [`Config::features`] (`NETIF_F_…`).
pub(crate) mod feature {
    use crate::bindings;

    /// Sends skbs with fragments (scatter-gather).
    pub(crate) const SG: u64 = bindings::OXNIC_NETIF_F_SG;
    /// Fills in the Internet checksum, whatever the protocol (`CHECKSUM_PARTIAL`).
    pub(crate) const HW_CSUM: u64 = bindings::OXNIC_NETIF_F_HW_CSUM;
    /// Segments large TCP frames, over IPv4 and IPv6, also with ECN.
    pub(crate) const TSO: u64 = bindings::OXNIC_NETIF_F_TSO;
    /// All kinds of segmentation, of TCP and others (`NETIF_F_GSO_MASK`).
    pub(crate) const GSO: u64 = bindings::OXNIC_NETIF_F_GSO_MASK;
    /// Sends skbs in high memory.
    pub(crate) const HIGHDMA: u64 = bindings::OXNIC_NETIF_F_HIGHDMA;
    /// Verifies the checksums of received frames.
    pub(crate) const RXCSUM: u64 = bindings::OXNIC_NETIF_F_RXCSUM;
    /// Provides the flow hash of received frames.
    pub(crate) const RXHASH: u64 = bindings::OXNIC_NETIF_F_RXHASH;
    /// Follows flow steering rules.
    pub(crate) const NTUPLE: u64 = bindings::OXNIC_NETIF_F_NTUPLE;
    /// Strips 802.1Q tags from received frames.
    pub(crate) const VLAN_CTAG_RX: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_CTAG_RX;
    /// Receives frames with an 802.1Q tag only if their VLAN was added. Needs
    /// [`Ops::vlan_rx_add_vid`](super::super::Ops::vlan_rx_add_vid) and its counterpart.
    pub(crate) const VLAN_CTAG_FILTER: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_CTAG_FILTER;
    /// Inserts 802.1Q tags into sent frames.
    pub(crate) const VLAN_CTAG_TX: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_CTAG_TX;
    /// Strips 802.1ad tags from received frames.
    pub(crate) const VLAN_STAG_RX: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_STAG_RX;
    /// Inserts 802.1ad tags into sent frames.
    pub(crate) const VLAN_STAG_TX: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_STAG_TX;
}
