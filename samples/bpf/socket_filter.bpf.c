// SPDX-License-Identifier: GPL-2.0
/*
 * socket_filter: the same frames at two hooks, and what a program has in its hands at each.
 *
 * An XDP program runs in the driver. It has no more than a buffer with the frame's bytes (an
 * xdp_buff in the kernel, struct xdp_md here). A socket filter runs at the end of the way through
 * the network stack, for one socket. It has an sk_buff (here struct __sk_buff) with all that the
 * stack has found out meanwhile, but the bytes only by way of a helper function.
 *
 * Nor do the verdicts mean the same. XDP decides what becomes of the frame. A socket filter says
 * how many of its bytes this socket may have, 0 for none; the frame goes on to everybody else.
 *
 *     socket_filter ox0
 */
#include "protocols.h"

struct protocol_counters xdp_frames SEC(".maps");
struct protocol_counters frames_in SEC(".maps");
struct protocol_counters frames_out SEC(".maps");
struct protocol_counters datagrams SEC(".maps");

enum place {
	PLACE_XDP,
	PLACE_PACKET,
	PLACE_UDP,
	PLACES,
};

/* What a program found in its context; for an XDP program a part of it is not there. */
struct view {
	__u64 time;		/* of CLOCK_MONOTONIC, in nanoseconds */
	__u32 len;
	__u32 ifindex;
	__u32 queue;
	__u32 hash;
	__u32 protocol;
	__u32 type;
	__u8 first[8];
};

/* Of the last frame with UDP that arrived. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, struct view);
} views SEC(".maps");

/* Of the header <linux/if_packet.h>, which needs others. */
#define PACKET_OUTGOING	4

/* In the driver: the frame is where data points to, and its protocol has to be found in it. */
SEC("xdp.frags")
int count_xdp(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	enum protocol protocol = xdp_protocol(ctx);
	void *data = (void *)(long)ctx->data;
	__u32 place = PLACE_XDP;
	struct view *view;

	count(&xdp_frames, protocol);
	view = bpf_map_lookup_elem(&views, &place);
	if (view && protocol == PROTOCOL_UDP && data + sizeof(view->first) <= data_end) {
		view->time = bpf_ktime_get_ns();
		view->len = bpf_xdp_get_buff_len(ctx);
		view->ifindex = ctx->ingress_ifindex;
		view->queue = ctx->rx_queue_index;
		__builtin_memcpy(view->first, data, sizeof(view->first));
	}
	return XDP_PASS;
}

/*
 * In the socket layer: the stack knows where the network header is, and has noted the EtherType.
 * The socket's own data may begin elsewhere: at the Ethernet header for a packet socket, at the UDP
 * header for a UDP socket.
 */
static __always_inline enum protocol skb_protocol(struct __sk_buff *skb)
{
	__u32 offset;
	__u8 number;

	switch (skb->protocol) {
	case bpf_htons(ETH_P_ARP):
		return PROTOCOL_ARP;
	case bpf_htons(ETH_P_IP):
		offset = __builtin_offsetof(struct iphdr, protocol);
		break;
	case bpf_htons(ETH_P_IPV6):
		offset = __builtin_offsetof(struct ipv6hdr, nexthdr);
		break;
	default:
		return PROTOCOL_OTHER;
	}
	if (bpf_skb_load_bytes_relative(skb, offset, &number, sizeof(number), BPF_HDR_START_NET))
		return PROTOCOL_OTHER;
	return ip_protocol(number);
}

static __always_inline void look(struct __sk_buff *skb, __u32 place)
{
	struct view *view = bpf_map_lookup_elem(&views, &place);

	if (!view)
		return;
	view->time = bpf_ktime_get_ns();
	view->len = skb->len;
	view->ifindex = skb->ifindex;
	view->queue = skb->queue_mapping;
	view->hash = skb->hash;
	view->protocol = skb->protocol;
	view->type = skb->pkt_type;
	bpf_skb_load_bytes(skb, 0, view->first, sizeof(view->first));
}

/*
 * A packet socket sees what arrives and what leaves, whoever it is for. This one is there for its
 * filter alone, so nothing is queued for it.
 */
SEC("socket")
int count_packet(struct __sk_buff *skb)
{
	enum protocol protocol = skb_protocol(skb);

	if (skb->pkt_type == PACKET_OUTGOING) {
		count(&frames_out, protocol);
		return 0;
	}
	count(&frames_in, protocol);
	if (protocol == PROTOCOL_UDP)
		look(skb, PLACE_PACKET);
	return 0;
}

/* A UDP socket sees what was sent to its port, and this one is to have all of it. */
SEC("socket")
int count_udp(struct __sk_buff *skb)
{
	count(&datagrams, skb_protocol(skb));
	look(skb, PLACE_UDP);
	return skb->len;
}

char _license[] SEC("license") = "GPL";
