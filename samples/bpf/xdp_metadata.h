/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The metadata of a frame that a driver can give to a program.
 *
 * When the program is loaded, the kernel replaces these three calls by calls of the driver's
 * functions. So it must know the device then, and the program cannot be attached to another one. A
 * call returns 0, or -ENODATA if there is no such metadata for this frame, or -EOPNOTSUPP if the
 * driver never has it.
 */
#ifndef XDP_METADATA_H
#define XDP_METADATA_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* What the hash was computed over. The kernel has more values; the name of the enum must agree. */
enum xdp_rss_hash_type {
	XDP_RSS_L3_IPV4 = 1 << 0,
	XDP_RSS_L3_IPV6 = 1 << 1,
	XDP_RSS_L4 = 1 << 3,
	XDP_RSS_L4_TCP = 1 << 4,
	XDP_RSS_L4_UDP = 1 << 5,
};

int bpf_xdp_metadata_rx_timestamp(const struct xdp_md *ctx, __u64 *timestamp) __ksym;
int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, __u32 *hash,
			     enum xdp_rss_hash_type *type) __ksym;
int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md *ctx, __be16 *protocol,
				 __u16 *tci) __ksym;

#endif
