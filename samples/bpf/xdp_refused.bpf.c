// SPDX-License-Identifier: GPL-2.0
/*
 * xdp_refused: what the verifier does not let in, to see how it says so.
 *
 * The program reads the EtherType without having asked whether the frame is long enough to have
 * one. In C that would read whatever lies behind a shorter frame; here it is never loaded:
 *
 *     xdp_attach ox0 --obj xdp_refused.bpf.o
 *
 * A comparison with data_end in front of the access, as in xdp_tx.bpf.c, makes it right.
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
