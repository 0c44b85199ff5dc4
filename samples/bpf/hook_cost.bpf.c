// SPDX-License-Identifier: GPL-2.0
/*
 * hook_cost: the verdict "drop" at three hooks. The later the hook, the more work was done for the
 * frame before: at the first there are only its bytes, at the second an sk_buff, at the third an
 * sk_buff that was routed and has found its socket.
 *
 * The sample hook_cost attaches them in turn and measures what a dropped frame costs; so does
 * `make bench`. Both take the number of frames from other counters, so that only the way to the
 * hook is measured.
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

/* Traffic control, ingress. */
SEC("tc")
int drop_tc(struct __sk_buff *skb)
{
	return TCX_DROP;
}

/* A socket: the return value is the number of bytes to keep. */
SEC("socket")
int drop_socket(struct __sk_buff *skb)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
