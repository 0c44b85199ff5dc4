// SPDX-License-Identifier: GPL-2.0
/*
 * xdp_tx: answer pings without the network stack.
 *
 * An ICMP echo request (IPv4 or IPv6) is turned into the reply in place: Ethernet and IP addresses
 * are swapped, the ICMP type becomes "reply", the ICMP checksum is corrected. XDP_TX then sends the
 * frame out of the port at which it arrived. All other frames, including ARP and neighbour
 * discovery, go to the stack with XDP_PASS.
 *
 * Every access to the frame follows a comparison with data_end; without it the verifier refuses to
 * load the program.
 *
 *     ip link set dev ox0 xdp obj xdp_tx.bpf.o sec xdp
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/*
 * ICMP for IPv4 and for IPv6 begin with the same fields. The types are defined here since
 * <linux/icmp.h> needs the C library, which a BPF program does not have.
 */
struct icmp_echo {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u16 id;
	__u16 sequence;
};

#define ICMP_ECHO		8
#define ICMP_ECHOREPLY		0
#define ICMPV6_ECHO_REQUEST	128
#define ICMPV6_ECHO_REPLY	129

/* More-fragments flag and fragment offset: a fragment holds only a part of the ICMP message. */
#define IP_FRAGMENT		0x3fff

static __always_inline void swap_macs(struct ethhdr *eth)
{
	unsigned char mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

/*
 * RFC 1624: when one 16-bit word under an Internet checksum changes, the new checksum follows from
 * the old one and the two words. The addresses need no correction at all: a sum does not depend on
 * the order of its terms.
 */
static __always_inline __u16 csum_replace(__u16 csum, __u16 from, __u16 to)
{
	__u32 sum = (__u16)~csum + (__u16)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Type and code are one 16-bit word under the checksum; the type is its upper half. */
static __always_inline void make_reply(struct icmp_echo *icmp, __u8 type)
{
	icmp->checksum = csum_replace(icmp->checksum, bpf_htons(icmp->type << 8),
				      bpf_htons(type << 8));
	icmp->type = type;
}

static __always_inline int reply_v4(struct ethhdr *eth, void *data_end)
{
	struct iphdr *ip = (void *)(eth + 1);
	struct icmp_echo *icmp = (void *)(ip + 1);
	__be32 addr;

	if ((void *)(icmp + 1) > data_end)
		return XDP_PASS;
	if (ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_ICMP)
		return XDP_PASS;
	if (ip->frag_off & bpf_htons(IP_FRAGMENT))
		return XDP_PASS;
	if (icmp->type != ICMP_ECHO || icmp->code)
		return XDP_PASS;

	addr = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = addr;

	make_reply(icmp, ICMP_ECHOREPLY);
	swap_macs(eth);
	return XDP_TX;
}

static __always_inline int reply_v6(struct ethhdr *eth, void *data_end)
{
	struct ipv6hdr *ip = (void *)(eth + 1);
	struct icmp_echo *icmp = (void *)(ip + 1);
	struct in6_addr addr;

	if ((void *)(icmp + 1) > data_end)
		return XDP_PASS;
	if (ip->version != 6 || ip->nexthdr != IPPROTO_ICMPV6)
		return XDP_PASS;
	if (icmp->type != ICMPV6_ECHO_REQUEST || icmp->code)
		return XDP_PASS;

	addr = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = addr;

	make_reply(icmp, ICMPV6_ECHO_REPLY);
	swap_macs(eth);
	return XDP_TX;
}

SEC("xdp")
int xdp_tx(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > data_end)
		return XDP_PASS;

	/* A reply must not come from a broadcast or multicast address. */
	if (eth->h_dest[0] & 1)
		return XDP_PASS;

	switch (eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		return reply_v4(eth, data_end);
	case bpf_htons(ETH_P_IPV6):
		return reply_v6(eth, data_end);
	default:
		return XDP_PASS;
	}
}

char _license[] SEC("license") = "GPL";
