// SPDX-License-Identifier: GPL-2.0
/*
 * xdp_refused: a program that the verifier refuses, to see its message.
 *
 * The program reads the EtherType without checking that the frame is long enough to have one. So it
 * could read beyond the end of a short frame, and is never loaded:
 *
 *     xdp_attach ox0 --obj xdp_refused.bpf.o
 *
 * A comparison with data_end before the access, as in xdp_tx.bpf.c, makes it right.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int xdp_refused(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	return eth->h_proto == bpf_htons(ETH_P_ARP) ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
