// SPDX-License-Identifier: GPL-2.0
/* Changes one segment of a TCP stream on its way, or all of them, or what becomes of them. */
#include "probe.h"

struct edit {
	__u32 seq;		/* the sequence number of the segment */
	__u32 all;		/* whether it is all of them instead */
	__u32 offset;		/* of a byte in the frame; 0: none is changed */
	__u32 flip;		/* bits of that byte */
	__u32 mend;		/* whether to mend the checksum of IPv4 */
	__u32 act;		/* the verdict */
	__u32 meta;		/* metadata of this segment; 0: none */
	__u32 other_meta;	/* metadata of the others; 0: none */
	__u32 push;		/* the id of a VLAN tag to put in; 0: none */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct edit);
} config SEC(".maps");

/* One frame of this many is dropped by lossy. */
#define LOST	97

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

#define IPV4_SUM	(sizeof(struct ethhdr) + __builtin_offsetof(struct iphdr, check))

/* The IPv4 header, without options, with the right checksum. */
static __always_inline int mend_checksum(struct xdp_md *ctx)
{
	__u16 words[sizeof(struct iphdr) / 2];
	__u32 sum = 0;
	__u16 check = 0;
	int i;

	if (bpf_xdp_store_bytes(ctx, IPV4_SUM, &check, sizeof(check)) ||
	    bpf_xdp_load_bytes(ctx, sizeof(struct ethhdr), words, sizeof(words)))
		return -1;
	for (i = 0; i < (int)(sizeof(words) / 2); i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	check = ~((sum & 0xffff) + (sum >> 16));
	return bpf_xdp_store_bytes(ctx, IPV4_SUM, &check, sizeof(check));
}

static __always_inline int put_meta(struct xdp_md *ctx, __u32 value)
{
	__u32 *meta;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(value)))
		return -1;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return -1;
	*meta = value;
	return 0;
}

static __always_inline int push_tag(struct xdp_md *ctx, __u16 id)
{
	__u8 addresses[2 * ETH_ALEN];
	__be16 tag[2] = { bpf_htons(0x8100), bpf_htons(id) };

	if (bpf_xdp_load_bytes(ctx, 0, addresses, sizeof(addresses)) ||
	    bpf_xdp_adjust_head(ctx, -(int)sizeof(tag)) ||
	    bpf_xdp_store_bytes(ctx, 0, addresses, sizeof(addresses)))
		return -1;
	return bpf_xdp_store_bytes(ctx, sizeof(addresses), tag, sizeof(tag));
}

/* The sequence number of a TCP segment without IPv4 options or IPv6 extension headers. */
static __always_inline int sequence(struct xdp_md *ctx, __u32 *seq)
{
	__be16 type;
	__u32 ip_len;

	if (bpf_xdp_load_bytes(ctx, 2 * ETH_ALEN, &type, sizeof(type)))
		return -1;
	if (type == bpf_htons(ETH_P_IP))
		ip_len = sizeof(struct iphdr);
	else if (type == bpf_htons(ETH_P_IPV6))
		ip_len = 40;
	else
		return -1;
	if (bpf_xdp_load_bytes(ctx, sizeof(struct ethhdr) + ip_len + 4, seq, sizeof(*seq)))
		return -1;
	*seq = bpf_ntohl(*seq);
	return 0;
}

SEC("xdp.frags")
int edit(struct xdp_md *ctx)
{
	struct edit *conf;
	__u32 zero = 0;
	__u32 seq;
	__u8 byte;

	conf = bpf_map_lookup_elem(&config, &zero);
	if (!conf)
		return XDP_ABORTED;
	add_one(&seen, 0);
	if (sequence(ctx, &seq))
		return XDP_PASS;
	if (!conf->all && seq != conf->seq) {
		if (conf->other_meta && put_meta(ctx, conf->other_meta))
			return XDP_ABORTED;
		return XDP_PASS;
	}
	if (conf->offset) {
		if (bpf_xdp_load_bytes(ctx, conf->offset, &byte, 1))
			return XDP_ABORTED;
		byte ^= conf->flip;
		if (bpf_xdp_store_bytes(ctx, conf->offset, &byte, 1))
			return XDP_ABORTED;
	}
	if (conf->mend && mend_checksum(ctx))
		return XDP_ABORTED;
	if (conf->push && push_tag(ctx, conf->push))
		return XDP_ABORTED;
	if (conf->meta && put_meta(ctx, conf->meta))
		return XDP_ABORTED;
	return conf->act;
}

/* Drops one frame of many. */
SEC("xdp.frags")
int lossy(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&seen, &zero);

	if (!count)
		return XDP_ABORTED;
	*count += 1;
	return *count % LOST ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
