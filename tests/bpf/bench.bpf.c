// SPDX-License-Identifier: GPL-2.0
/*
 * The programs of the benchmarks: verdicts without any work, and sources of frames for a device.
 * Those that only drop are in samples/bpf/hook_cost.bpf.c.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

/* The target of bench_redirect, and the device into which the source sends its frames. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bpf_cpumap_val);
} cpus SEC(".maps");

/* The AF_XDP socket of each queue. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* The targets of bench_tc_send (the first one only) and of bench_tc_spread. */
#define TARGETS 16

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TARGETS);
	__type(key, __u32);
	__type(value, __u32);
} targets SEC(".maps");

/* The frames of one softirq, which all go to the same target. */
#define BATCH 64

static __u32 spread;

SEC("xdp")
int bench_drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp.frags")
int bench_drop_frags(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp")
int bench_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp.frags")
int bench_pass_frags(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp")
int bench_tx(struct xdp_md *ctx)
{
	return XDP_TX;
}

SEC("xdp")
int bench_redirect(struct xdp_md *ctx)
{
	return bpf_redirect_map(&devices, 0, 0);
}

SEC("xdp")
int bench_cpu(struct xdp_md *ctx)
{
	return bpf_redirect_map(&cpus, 0, 0);
}

SEC("xdp")
int bench_xsk(struct xdp_md *ctx)
{
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, 0);
}

/* The source of xdp_xmit: each frame goes into the device under test. */
SEC("xdp")
int bench_send(struct xdp_md *ctx)
{
	return bpf_redirect_map(&devices, 1, 0);
}

/* The source of sk_buffs in bulk: what arrives here is sent out of the device under test. */
SEC("tc")
int bench_tc_send(struct __sk_buff *skb)
{
	__u32 key = 0, *ifindex = bpf_map_lookup_elem(&targets, &key);

	return ifindex ? bpf_redirect(*ifindex, 0) : TCX_DROP;
}

/* The same, a batch to each target in turn. */
SEC("tc")
int bench_tc_spread(struct __sk_buff *skb)
{
	__u32 key = spread++ / BATCH % TARGETS, *ifindex = bpf_map_lookup_elem(&targets, &key);

	return ifindex ? bpf_redirect(*ifindex, 0) : TCX_DROP;
}

char _license[] SEC("license") = "GPL";
