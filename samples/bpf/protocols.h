/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by the samples that count by protocol: the protocols, a map with a counter for each, and
 * the function that finds the protocol of an XDP program's frame. The Rust side is
 * samples/common/src/protocols.rs.
 */
#ifndef PROTOCOLS_H
#define PROTOCOLS_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum protocol {
	PROTOCOL_ARP,
	PROTOCOL_ICMP,
	PROTOCOL_ICMPV6,
	PROTOCOL_TCP,
	PROTOCOL_UDP,
	PROTOCOL_OTHER,
	PROTOCOLS,
};

/* A counter for each protocol. Each CPU has its own set, so no atomic addition is needed. */
struct protocol_counters {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PROTOCOLS);
	__type(key, __u32);
	__type(value, __u64);
};

static __always_inline void count(void *counters, __u32 protocol)
{
	__u64 *counter = bpf_map_lookup_elem(counters, &protocol);

	if (counter)
		*counter += 1;
}

/*
 * By the protocol field of IPv4, or the next header of IPv6. Extension headers are not followed.
 */
static __always_inline enum protocol ip_protocol(__u8 number)
{
	switch (number) {
	case IPPROTO_ICMP:
		return PROTOCOL_ICMP;
	case IPPROTO_ICMPV6:
		return PROTOCOL_ICMPV6;
	case IPPROTO_TCP:
		return PROTOCOL_TCP;
	case IPPROTO_UDP:
		return PROTOCOL_UDP;
	default:
		return PROTOCOL_OTHER;
	}
}

/*
 * The frame begins with the Ethernet header. No byte may be accessed before a comparison with
 * data_end.
 */
static __always_inline enum protocol xdp_protocol(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct ipv6hdr *v6 = (void *)(eth + 1);
	struct iphdr *v4 = (void *)(eth + 1);

	if ((void *)(eth + 1) > data_end)
		return PROTOCOL_OTHER;

	switch (eth->h_proto) {
	case bpf_htons(ETH_P_ARP):
		return PROTOCOL_ARP;
	case bpf_htons(ETH_P_IP):
		if ((void *)(v4 + 1) > data_end)
			return PROTOCOL_OTHER;
		return ip_protocol(v4->protocol);
	case bpf_htons(ETH_P_IPV6):
		if ((void *)(v6 + 1) > data_end)
			return PROTOCOL_OTHER;
		return ip_protocol(v6->nexthdr);
	default:
		return PROTOCOL_OTHER;
	}
}

#endif
