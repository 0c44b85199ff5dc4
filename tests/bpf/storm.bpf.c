// SPDX-License-Identifier: GPL-2.0
/*
 * The programs of the storm and the soak. In the storm each probe holds its verdict; the mark of
 * those that circulate counts their rounds. That program is there twice: for single-buffer frames,
 * and for frames of any length.
 */
#include "probe.h"
#include "targets.h"

/* Another value of probe.verdict: redirect to the AF_XDP socket of the frame's queue, if any. */
#define PROBE_SOCKET	0x88

/* A probe with this mark has made enough rounds. */
#define MARK_END	0xff

/* Not zero: every frame goes to the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} pass_all SEC(".maps");

/* How often the program has run. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} sockets SEC(".maps");

/* Which frames a program on the devmap's entry drops: enum which. */
enum which {
	DROP_NONE,
	DROP_EVERY_OTHER,
	DROP_LAST_16_OF_64,	/* of a whole poll, the last batch */
	DROP_LAST_16_OF_32,
	DROP_LAST_48_OF_64,
	DROP_ALL,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} drops SEC(".maps");

/* How many were redirected. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} redirected SEC(".maps");

static __always_inline int act_on_device(void)
{
	__u32 zero = 0, *which = bpf_map_lookup_elem(&drops, &zero);
	__u64 *count = bpf_map_lookup_elem(&redirected, &zero);
	__u64 n;
	int drop;

	if (!which || !count)
		return XDP_PASS;
	/* Two CPUs may get the same number. */
	n = (*count)++;
	switch (*which) {
	case DROP_EVERY_OTHER:
		drop = n % 2;
		break;
	case DROP_LAST_16_OF_64:
		drop = n % 64 >= 48;
		break;
	case DROP_LAST_16_OF_32:
		drop = n % 32 >= 16;
		break;
	case DROP_LAST_48_OF_64:
		drop = n % 64 >= 16;
		break;
	case DROP_ALL:
		drop = 1;
		break;
	default:
		drop = 0;
	}
	return drop ? XDP_DROP : XDP_PASS;
}

static __always_inline int act(struct xdp_md *ctx)
{
	struct probe *probe = probe_of(ctx);
	__u32 zero = 0, *still;

	add_one(&seen, 0);
	still = bpf_map_lookup_elem(&pass_all, &zero);
	if (!probe || !still || *still)
		return XDP_PASS;

	switch (probe->verdict) {
	case XDP_TX:
		if (probe->mark == MARK_END)
			return XDP_PASS;
		probe->mark++;
		swap_addresses(ctx);
		return XDP_TX;
	case PROBE_DEVMAP:
		if (probe->mark == MARK_END)
			return XDP_PASS;
		probe->mark++;
		return bpf_redirect_map(&devs, 0, XDP_DROP);
	case XDP_REDIRECT:
		return bpf_redirect_map(&cpus, 0, XDP_DROP);
	case PROBE_SOCKET:
		return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
	default:
		return probe->verdict;
	}
}

SEC("xdp")
int storm(struct xdp_md *ctx)
{
	return act(ctx);
}

SEC("xdp.frags")
int storm_frags(struct xdp_md *ctx)
{
	return act(ctx);
}

SEC("xdp/devmap")
int storm_on_device(struct xdp_md *ctx)
{
	return act_on_device();
}

SEC("xdp.frags/devmap")
int storm_frags_on_device(struct xdp_md *ctx)
{
	return act_on_device();
}

/* Sends every frame back. */
SEC("xdp")
int turn_back(struct xdp_md *ctx)
{
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
