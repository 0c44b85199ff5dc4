// SPDX-License-Identifier: GPL-2.0
/* Programs that count their frames, each loaded instance in a map of its own. */
#include "probe.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

/* Iterations of an empty loop that count_slow makes per frame. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} rounds SEC(".maps");

SEC("xdp")
int count_pass(struct xdp_md *ctx)
{
	add_one(&seen, 0);
	return XDP_PASS;
}

SEC("xdp")
int count_drop(struct xdp_md *ctx)
{
	add_one(&seen, 0);
	return XDP_DROP;
}

/* For multi-buffer frames too. */
SEC("xdp.frags")
int count_pass_frags(struct xdp_md *ctx)
{
	add_one(&seen, 0);
	return XDP_PASS;
}

SEC("xdp.frags")
int count_drop_frags(struct xdp_md *ctx)
{
	add_one(&seen, 0);
	return XDP_DROP;
}

static long idle(__u32 index, void *ctx)
{
	return 0;
}

/* Keeps the poll busy, so that the ring fills up. */
SEC("xdp")
int count_slow(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u32 *n = bpf_map_lookup_elem(&rounds, &zero);

	add_one(&seen, 0);
	if (n)
		bpf_loop(*n, idle, NULL, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
