// SPDX-License-Identifier: GPL-2.0
/*
 * socket_filter: the same frames at two hooks, and what a program can access at each.
 *
 * An XDP program runs in the driver. It has only a buffer with the frame's bytes (an xdp_buff in
 * the kernel, struct xdp_md here). A socket filter runs at the end of the network stack, for one
 * socket. It has an sk_buff (struct __sk_buff here) with everything that the stack has found out,
 * but accesses the bytes only through a helper function.
 *
 * The verdicts differ too. An XDP program decides about the frame. A socket filter returns how many
 * bytes of it this socket gets, 0 for none; all other receivers still get the frame.
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

/* What a program found in its context; an XDP program has only a part of it. */
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

/* For the last UDP frame that arrived. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, struct view);
} views SEC(".maps");

/* From <linux/if_packet.h>, which needs other headers. */
#define PACKET_OUTGOING	4

/* In the driver: data points to the frame, and the program has to parse it. */
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
 * In the socket layer: the sk_buff has the position of the network header, and the EtherType.
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
 * A packet socket sees all frames that arrive and leave. This one is used for its filter only, so
 * nothing is queued for it.
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

/* A UDP socket sees what was sent to its port; this one accepts all of it. */
SEC("socket")
int count_udp(struct __sk_buff *skb)
{
	count(&datagrams, skb_protocol(skb));
	look(skb, PLACE_UDP);
	return skb->len;
}

char _license[] SEC("license") = "GPL";
