// SPDX-License-Identifier: GPL-2.0
/*
 * Where a ring's poll runs: counts frames per CPU, and those that a given thread polled. Frames go
 * to the AF_XDP socket of their queue, or to the stack if there is none.
 */
#include "probe.h"

#define CPUS_MAX 64

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CPUS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} cpus SEC(".maps");

/* The id of the thread. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} thread SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} in_thread SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

SEC("xdp")
int where(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u32 *id = bpf_map_lookup_elem(&thread, &zero);

	add_one(&cpus, bpf_get_smp_processor_id());
	if (id && *id == (__u32)bpf_get_current_pid_tgid())
		add_one(&in_thread, 0);
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

char _license[] SEC("license") = "GPL";
