// SPDX-License-Identifier: GPL-2.0
/*
 * xdp_unknown: a verdict that does not exist.
 *
 * The driver treats a number that it does not know like XDP_ABORTED: it drops the frame and reports
 * it by the tracepoint xdp:xdp_exception. The kernel warns once since boot.
 *
 *     ip link set dev ox0 xdp obj xdp_unknown.bpf.o sec xdp
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int unknown(struct xdp_md *ctx)
{
	return 42;
}

char _license[] SEC("license") = "GPL";
