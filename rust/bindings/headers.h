/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The input of bindgen: the kernel's headers for network drivers with XDP, the
 * helpers and the tracepoints.
 */
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/debugfs.h>
#include <linux/ethtool.h>
#include <linux/etherdevice.h>
#include <linux/filter.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/net_tstamp.h>
#include <linux/netdevice.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <linux/smp.h>
#include <net/netdev_queues.h>
#include <net/netdev_rx_queue.h>
#include <net/page_pool/helpers.h>
#include <net/rtnetlink.h>
#include <net/xdp.h>
#include <net/xdp_sock_drv.h>

#include "events.h"
#include "helpers.h"

/* Constants that are macros with a cast or an expression in the kernel. */
static const u32 OXNIC_GFP_KERNEL = GFP_KERNEL;
static const u32 OXNIC_GFP_MAY_FAIL = GFP_KERNEL | __GFP_RETRY_MAYFAIL |
				      __GFP_NOWARN;
static const u64 OXNIC_NETIF_F_SG = NETIF_F_SG;
static const u64 OXNIC_NETIF_F_HW_CSUM = NETIF_F_HW_CSUM;
static const u64 OXNIC_NETIF_F_TSO = NETIF_F_TSO | NETIF_F_TSO6 |
				     NETIF_F_TSO_ECN;
static const u64 OXNIC_NETIF_F_GSO_MASK = NETIF_F_GSO_MASK;
static const u64 OXNIC_NETIF_F_HIGHDMA = NETIF_F_HIGHDMA;
static const u64 OXNIC_NETIF_F_RXCSUM = NETIF_F_RXCSUM;
static const u64 OXNIC_NETIF_F_RXHASH = NETIF_F_RXHASH;
static const u64 OXNIC_NETIF_F_NTUPLE = NETIF_F_NTUPLE;
static const u64 OXNIC_NETIF_F_HW_VLAN_CTAG_RX = NETIF_F_HW_VLAN_CTAG_RX;
static const u64 OXNIC_NETIF_F_HW_VLAN_CTAG_FILTER =
	NETIF_F_HW_VLAN_CTAG_FILTER;
static const u64 OXNIC_NETIF_F_HW_VLAN_CTAG_TX = NETIF_F_HW_VLAN_CTAG_TX;
static const u64 OXNIC_NETIF_F_HW_VLAN_STAG_RX = NETIF_F_HW_VLAN_STAG_RX;
static const u64 OXNIC_NETIF_F_HW_VLAN_STAG_TX = NETIF_F_HW_VLAN_STAG_TX;
static const u32 OXNIC_ETHTOOL_COALESCE_RX = ETHTOOL_COALESCE_RX_USECS |
					     ETHTOOL_COALESCE_RX_MAX_FRAMES |
					     ETHTOOL_COALESCE_USE_ADAPTIVE_RX;
/* Callbacks that also need RTNL, since they affect more than the device. */
static const u32 OXNIC_ETHTOOL_NEEDS_RTNL =
	ETHTOOL_OP_NEEDS_RTNL_LINKSETTINGS | ETHTOOL_OP_NEEDS_RTNL_SPFLAGS |
	ETHTOOL_OP_NEEDS_RTNL_SRINGPARAM | ETHTOOL_OP_NEEDS_RTNL_SCHANNELS |
	ETHTOOL_OP_NEEDS_RTNL_GPAUSEPARAM | ETHTOOL_OP_NEEDS_RTNL_SPAUSEPARAM |
	ETHTOOL_OP_NEEDS_RTNL_GLINK;
static const u32 OXNIC_SOF_TIMESTAMPING_TX_HARDWARE =
	SOF_TIMESTAMPING_TX_HARDWARE;
static const u32 OXNIC_SOF_TIMESTAMPING_RX_HARDWARE =
	SOF_TIMESTAMPING_RX_HARDWARE;
static const u32 OXNIC_SOF_TIMESTAMPING_RAW_HARDWARE =
	SOF_TIMESTAMPING_RAW_HARDWARE;
static const u8 OXNIC_SKBTX_HW_TSTAMP = SKBTX_HW_TSTAMP;
static const u8 OXNIC_ETH_RSS_HASH_TOP = ETH_RSS_HASH_TOP;
static const size_t OXNIC_MAX_SKB_FRAGS = MAX_SKB_FRAGS;
static const size_t OXNIC_PAGE_SIZE = PAGE_SIZE;
static const size_t OXNIC_SMP_CACHE_BYTES = SMP_CACHE_BYTES;
