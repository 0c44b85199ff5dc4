// SPDX-License-Identifier: GPL-2.0
/* A device-bound program that asks for the metadata of a frame. */
#include "../../samples/bpf/xdp_metadata.h"
#include "probe.h"

struct hint {
	__u64 frames;
	__u64 now;		/* CLOCK_TAI when the program ran */
	__u64 stamp;
	__u32 hash;
	__u32 type;
	__s32 stamp_error;
	__s32 hash_error;
	__s32 vlan_error;
	__u16 tci;
	__u16 proto;		/* of the tag, in the processor's order */
	__u32 len;
	__u16 ethertype;	/* as the frame's bytes have it */
	__u16 pad;
};

/* Of the last frame. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hint);
} hint_last SEC(".maps");

/* Frames with and without a time stamp. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} hint_counts SEC(".maps");

static __always_inline int take(struct xdp_md *ctx)
{
	enum xdp_rss_hash_type type = 0;
	struct ethhdr *eth = (void *)(long)ctx->data;
	__u32 zero = 0;
	struct hint *hint;
	__be16 proto = 0;
	__u64 stamp = 0;
	__u32 hash = 0;
	__u16 tci = 0;

	hint = bpf_map_lookup_elem(&hint_last, &zero);
	if (!hint || (void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	hint->ethertype = bpf_ntohs(eth->h_proto);
	hint->stamp_error = bpf_xdp_metadata_rx_timestamp(ctx, &stamp);
	hint->hash_error = bpf_xdp_metadata_rx_hash(ctx, &hash, &type);
	hint->vlan_error = bpf_xdp_metadata_rx_vlan_tag(ctx, &proto, &tci);
	hint->stamp = stamp;
	hint->hash = hash;
	hint->type = type;
	hint->proto = bpf_ntohs(proto);
	hint->tci = tci;
	hint->len = bpf_xdp_get_buff_len(ctx);
	hint->now = bpf_ktime_get_tai_ns();
	add_one(&hint_counts, hint->stamp_error ? 1 : 0);
	__sync_fetch_and_add(&hint->frames, 1);
	return XDP_PASS;
}

SEC("xdp.frags")
int hints(struct xdp_md *ctx)
{
	return take(ctx);
}

char _license[] SEC("license") = "GPL";
