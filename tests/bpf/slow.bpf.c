// SPDX-License-Identifier: GPL-2.0
/* A program that takes a long time for each frame, the same on every machine. */
#include "probe.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

/* How long it takes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} usecs SEC(".maps");

static long is_over(__u32 index, void *until)
{
	return bpf_ktime_get_ns() >= *(__u64 *)until;
}

SEC("xdp")
int slow_drop(struct xdp_md *ctx)
{
	__u64 until = bpf_ktime_get_ns();
	__u32 zero = 0;
	__u32 *n = bpf_map_lookup_elem(&usecs, &zero);

	add_one(&seen, 0);
	if (n) {
		until += *n * 1000ULL;
		bpf_loop(1 << 20, is_over, &until, 0);
	}
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
