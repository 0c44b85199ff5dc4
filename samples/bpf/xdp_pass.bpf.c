// SPDX-License-Identifier: GPL-2.0
/*
 * xdp_pass: the smallest XDP program.
 *
 * The driver calls it once for every frame it takes out of a receive ring, before any sk_buff
 * exists. The return value is the verdict: XDP_PASS lets the driver build an sk_buff around the
 * frame and hand it to the network stack, as it does when no program is attached.
 *
 *     ip link set dev ox0 xdp obj xdp_pass.bpf.o sec xdp
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int xdp_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
