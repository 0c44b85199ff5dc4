// SPDX-License-Identifier: GPL-2.0
/*
 * hook_cost: one verdict, "drop", at three hooks. The later the hook, the more has been done for
 * the frame by then: the first has only its bytes, the second an sk_buff, the third an sk_buff that
 * was routed and has found its socket.
 *
 * The sample hook_cost attaches them in turn and measures what a dropped frame costs; so does
 * `make bench`. Both count elsewhere what arrives, so that nothing but the way to the hook is paid.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

/* Native: in the driver, before there is an sk_buff. Generic: right after the driver. */
SEC("xdp")
int drop_xdp(struct xdp_md *ctx)
{
	return XDP_DROP;
}

/* Where traffic control sees what comes in. */
SEC("tc")
int drop_tc(struct __sk_buff *skb)
{
	return TCX_DROP;
}

/* A socket: as many bytes of the datagram as are to be kept. */
SEC("socket")
int drop_socket(struct __sk_buff *skb)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
