// SPDX-License-Identifier: GPL-2.0

//! What a driver chooses when it makes a device.

use crate::bindings;

/// What a device is made with. [`Config::DEFAULT`] is an Ethernet device that does nothing for the
/// stack.
pub(crate) struct Config {
    /// Largest MTU in bytes that the device can do.
    pub(crate) max_mtu: u32,
    /// What the device does for the stack unless the user switches it off: bits of [`feature`].
    pub(crate) features: u64,
    /// What it does if the user switches it on.
    pub(crate) more_features: u64,
    /// Which of `features` work for frames with a VLAN tag too, next to the frame or in it
    /// (`vlan_features`): of the others the kernel does in software what is to be sent.
    pub(crate) vlan_features: u64,
    /// What the device's XDP can do, as announced in netlink ([`xdp::feature`]).
    ///
    /// [`xdp::feature`]: crate::net::xdp::feature
    pub(crate) xdp_features: u32,
    /// For how long a transmit queue may be stopped before [`Ops::tx_timeout`], in milliseconds
    /// (`watchdog_timeo`).
    ///
    /// [`Ops::tx_timeout`]: super::Ops::tx_timeout
    pub(crate) tx_timeout_ms: u32,
    /// Whether the device begins with a random address (`eth_hw_addr_random`). If not, it has none
    /// until the driver or the user sets one, and cannot go up before.
    pub(crate) random_address: bool,
    /// Whether the address may change while the interface is up (`IFF_LIVE_ADDR_CHANGE`).
    pub(crate) live_address_change: bool,
    /// Whether an skb may be sent that others have references to (`IFF_TX_SKB_SHARING`), as pktgen
    /// does: for a driver that writes nothing into what it sends and keeps none of it.
    pub(crate) tx_skb_sharing: bool,
    /// Whether the kernel calls the callbacks of the control path under the instance lock of the
    /// device (`request_ops_lock`), for which it leaves RTNL out where it can. A device with
    /// [`Ops::QUEUE_MGMT`] has it in any case (`netdev_need_ops_lock`).
    ///
    /// [`Ops::QUEUE_MGMT`]: super::Ops::QUEUE_MGMT
    pub(crate) instance_lock: bool,
    /// Whether netpoll, and so netconsole, may send by the device.
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
        tx_timeout_ms: 5000,
        random_address: true,
        live_address_change: false,
        tx_skb_sharing: false,
        instance_lock: true,
        netpoll: Netpoll::Refused,
    };
}

/// Whether netpoll may send by a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Netpoll {
    /// It may not (`IFF_DISABLE_NETPOLL`).
    Refused,
    /// It may.
    Accepted(NetpollProof),
}

/// The promise of a driver that it can send for netpoll; see [`Netpoll::accepted`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct NetpollProof(());

impl Netpoll {
    /// Netpoll may send by the device.
    ///
    /// # Safety
    ///
    /// netpoll calls [`Ops::start_xmit`] and polls with a budget of 0 wherever a message is
    /// printed, also in a hard interrupt that came in the middle of a poll of the same device. The
    /// proof [`bh::Disabled`] that they get promises less there: no lock that is taken with bottom
    /// halves off alone may be taken, and nothing may be given back to a page_pool. The driver must
    /// do neither.
    ///
    /// [`Ops::start_xmit`]: super::Ops::start_xmit
    /// [`bh::Disabled`]: crate::net::bh::Disabled
    pub(crate) const unsafe fn accepted() -> Self {
        Self::Accepted(NetpollProof(()))
    }
}

impl Config {
    /// The private flags of the device (`enum netdev_priv_flags`); `filters_unicast` if it has a
    /// filter for unicast addresses. One that has none is made promiscuous when it needs one.
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

    /// Takes skbs whose data is in several pieces.
    pub(crate) const SG: u64 = bindings::OXNIC_NETIF_F_SG;
    /// Computes the checksum of any protocol that uses the Internet checksum.
    pub(crate) const HW_CSUM: u64 = bindings::OXNIC_NETIF_F_HW_CSUM;
    /// Cuts large TCP frames into segments (`tso`, `tso6`, also with ECN).
    pub(crate) const TSO: u64 = bindings::OXNIC_NETIF_F_TSO;
    /// All segmentation of large frames, of TCP and others (`NETIF_F_GSO_MASK`).
    pub(crate) const GSO: u64 = bindings::OXNIC_NETIF_F_GSO_MASK;
    /// Takes skbs in high memory.
    pub(crate) const HIGHDMA: u64 = bindings::OXNIC_NETIF_F_HIGHDMA;
    /// Tells which received checksums are good.
    pub(crate) const RXCSUM: u64 = bindings::OXNIC_NETIF_F_RXCSUM;
    /// Gives each received frame its flow hash.
    pub(crate) const RXHASH: u64 = bindings::OXNIC_NETIF_F_RXHASH;
    /// Follows flow steering rules.
    pub(crate) const NTUPLE: u64 = bindings::OXNIC_NETIF_F_NTUPLE;
    /// Takes 802.1Q tags out of received frames.
    pub(crate) const VLAN_CTAG_RX: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_CTAG_RX;
    /// Receives frames with an 802.1Q tag only of the VLANs that were asked for. A driver needs
    /// [`Ops::vlan_rx_add_vid`](super::super::Ops::vlan_rx_add_vid) and its counterpart for it.
    pub(crate) const VLAN_CTAG_FILTER: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_CTAG_FILTER;
    /// Puts 802.1Q tags into frames that are sent.
    pub(crate) const VLAN_CTAG_TX: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_CTAG_TX;
    /// Takes 802.1ad tags out of received frames.
    pub(crate) const VLAN_STAG_RX: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_STAG_RX;
    /// Puts 802.1ad tags into frames that are sent.
    pub(crate) const VLAN_STAG_TX: u64 = bindings::OXNIC_NETIF_F_HW_VLAN_STAG_TX;
}
