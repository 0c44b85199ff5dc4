// SPDX-License-Identifier: GPL-2.0
/*
 * The XDP program that all examples in this directory test. The destination port of a UDP datagram
 * decides on the verdict:
 *
 *	9	XDP_DROP
 *	7	XDP_TX: back to the sender
 *	4000	XDP_REDIRECT: out of the device in the map targets
 *	others	XDP_PASS, as has all that is not UDP over IPv4
 *
 * The map verdicts has the number of frames for each verdict.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PORT_ECHO	7
#define PORT_DISCARD	9
#define PORT_FORWARD	4000

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XDP_REDIRECT + 1);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

static __always_inline int echo(struct ethhdr *eth)
{
	unsigned char mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	return XDP_TX;
}

static __always_inline int decide(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (ip->ihl != 5 || ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	switch (bpf_ntohs(udp->dest)) {
	case PORT_DISCARD:
		return XDP_DROP;
	case PORT_ECHO:
		return echo(eth);
	case PORT_FORWARD:
		return bpf_redirect_map(&targets, 0, XDP_DROP);
	default:
		return XDP_PASS;
	}
}

SEC("xdp")
int xdp_verdicts(struct xdp_md *ctx)
{
	__u32 verdict = decide(ctx);
	__u64 *count = bpf_map_lookup_elem(&verdicts, &verdict);

	if (count)
		__sync_fetch_and_add(count, 1);
	return verdict;
}

char LICENSE[] SEC("license") = "GPL";
