// SPDX-License-Identifier: GPL-2.0
/* The probe in the frame holds the verdict. */
#include "probe.h"
#include "targets.h"

/* How often each value of probe.verdict was seen. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

SEC("xdp")
int verdict(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct probe *probe = probe_of(ctx);
	unsigned char mac[ETH_ALEN];
	__u32 act;

	if (!probe)
		return XDP_PASS;

	/* One that came back by XDP_TX must not bounce for ever. */
	act = probe->mark ? XDP_PASS : probe->verdict;
	add_one(&counts, act);

	switch (act) {
	case XDP_TX:
		__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
		__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
		__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
		/* A byte that only the program can have changed. */
		probe->mark ^= 0xff;
		return XDP_TX;
	case XDP_REDIRECT:
		return bpf_redirect_map(&cpus, 0, 0);
	case PROBE_DEVMAP:
		return bpf_redirect_map(&devs, 0, 0);
	case PROBE_BAD_REDIRECT:
		return bpf_redirect(0x7ffffff0, 0);
	default:
		return act;
	}
}

char _license[] SEC("license") = "GPL";
