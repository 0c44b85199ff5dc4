// SPDX-License-Identifier: GPL-2.0
/*
 * xdp_count: count frames by protocol, and pass them all.
 *
 * The counters are in a map, which user space can read while the program runs: samples/xdp_attach
 * does. A map exists while it is open in user space, or a program that uses it is loaded.
 *
 *     xdp_attach ox0
 */
#include "protocols.h"

struct protocol_counters protocols SEC(".maps");

SEC("xdp.frags")
int xdp_count(struct xdp_md *ctx)
{
	count(&protocols, xdp_protocol(ctx));
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
