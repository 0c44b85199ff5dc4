// SPDX-License-Identifier: GPL-2.0
/*
 * Lets every frame pass, and calls a function of the kernel on the way: the
 * compiled program itself cannot be traced, but a function that it calls can,
 * and the stack below that function shows how the program was reached.
 * Attached by the sample hook_chain.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp.frags")
int hook_chain(struct xdp_md *ctx)
{
	bpf_xdp_get_buff_len(ctx);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
