/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The frame that the tests send: Ethernet, IPv4 and UDP headers, then the number of the frame for
 * the receiver, and what the program is to do with it. tests/vm/src/wire/probe.rs builds it.
 */
#ifndef PROBE_H
#define PROBE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PROBE_MAGIC	0x6f786e63	/* "oxnc" */

/* Values of probe.verdict beyond those of enum xdp_action. */
#define PROBE_DEVMAP		0x85	/* redirect through a devmap */
#define PROBE_BAD_REDIRECT	0x86	/* redirect to a device that does not exist */
#define PROBE_DEVMAP_SECOND	0x87	/* redirect through the second entry of a devmap */

struct probe {
	__be32 magic;
	__be32 flow;
	__be32 seq;
	__u8 verdict;
	__u8 mark;
	__u8 pad[2];
};

#define PROBE_OFFSET	(sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr))

/* Adds one to an entry of a map of counters. */
static __always_inline void add_one(void *map, __u32 key)
{
	__u64 *count = bpf_map_lookup_elem(map, &key);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/* The probe in a frame, or NULL if there is none. */
static __always_inline struct probe *probe_of(struct xdp_md *ctx)
{
	struct probe *probe = (void *)(long)ctx->data + PROBE_OFFSET;

	if ((void *)(probe + 1) > (void *)(long)ctx->data_end)
		return NULL;
	if (probe->magic != bpf_htonl(PROBE_MAGIC))
		return NULL;
	return probe;
}

/* Addresses the frame to its sender. */
static __always_inline void swap_addresses(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	unsigned char mac[ETH_ALEN];

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return;
	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

#endif /* PROBE_H */
