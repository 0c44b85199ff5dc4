// SPDX-License-Identifier: GPL-2.0
/*
 * xdp_hints_ring: the card's metadata of each frame, for a program in user space.
 *
 * It asks the driver as xdp_hints does, and puts the answers into a ring buffer, from which
 * samples/hints prints them:
 *
 *     hints ox0
 */
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include "xdp_metadata.h"

/* The Rust side of it is samples/hints/src/record.rs. */
struct record {
	__u64 now;		/* of CLOCK_TAI, in nanoseconds: when the program ran */
	__u64 timestamp;	/* of the same clock: when the frame arrived */
	__s32 timestamp_error;
	__s32 hash_error;
	__u32 hash;
	__u32 hash_type;
	__s32 vlan_error;
	__u16 vlan_protocol;
	__u16 vlan_tci;
	__u32 len;
	__u16 queue;
	__u16 ethertype;	/* as in the frame, without a tag that the card has stripped */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} records SEC(".maps");

/* Frames for which the ring had no room. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

static __always_inline void count_lost(void)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&lost, &zero);

	if (count)
		*count += 1;
}

SEC("xdp.frags")
int xdp_hints_ring(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	enum xdp_rss_hash_type type = 0;
	__be16 vlan_protocol = 0;
	struct record *record;
	__u64 timestamp = 0;
	__u16 ethertype = 0;
	__u16 vlan_tci = 0;
	__u32 hash = 0;

	if ((void *)(eth + 1) <= data_end)
		ethertype = bpf_ntohs(eth->h_proto);

	record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);
	if (!record) {
		count_lost();
		return XDP_PASS;
	}
	record->timestamp_error = bpf_xdp_metadata_rx_timestamp(ctx, &timestamp);
	record->hash_error = bpf_xdp_metadata_rx_hash(ctx, &hash, &type);
	record->vlan_error = bpf_xdp_metadata_rx_vlan_tag(ctx, &vlan_protocol, &vlan_tci);
	record->now = bpf_ktime_get_tai_ns();
	record->timestamp = timestamp;
	record->hash = hash;
	record->hash_type = type;
	record->vlan_protocol = bpf_ntohs(vlan_protocol);
	record->vlan_tci = vlan_tci;
	record->len = bpf_xdp_get_buff_len(ctx);
	record->queue = ctx->rx_queue_index;
	record->ethertype = ethertype;
	bpf_ringbuf_submit(record, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
