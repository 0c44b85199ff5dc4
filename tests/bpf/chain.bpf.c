// SPDX-License-Identifier: GPL-2.0
/*
 * Programs to run one after the other. Each appends two bits to the probe's mark: so the frame
 * shows which of them ran, and in which order.
 */
#include "probe.h"

static __always_inline int leave(struct xdp_md *ctx, __u8 digit)
{
	struct probe *probe = probe_of(ctx);

	if (!probe)
		return XDP_PASS;

	probe->mark = probe->mark << 2 | digit;
	return probe->verdict == XDP_DROP && digit == 3 ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int chain_one(struct xdp_md *ctx)
{
	return leave(ctx, 1);
}

SEC("xdp")
int chain_two(struct xdp_md *ctx)
{
	return leave(ctx, 2);
}

/* Also drops the frames whose probe says so. */
SEC("xdp")
int chain_three(struct xdp_md *ctx)
{
	return leave(ctx, 3);
}

char _license[] SEC("license") = "GPL";
