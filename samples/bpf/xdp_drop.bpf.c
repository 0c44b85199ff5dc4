// SPDX-License-Identifier: GPL-2.0
/*
 * xdp_drop: drop every frame at the earliest possible moment.
 *
 * With XDP_DROP the buffer is posted to the receive ring again: no sk_buff is allocated, and the
 * stack never sees the frame. ARP is dropped as well, so a ping through the port gets no answer at
 * all. The driver counts the frames as rx_queue_N_xdp_drop (`ethtool -S ox0`).
 *
 *     ip link set dev ox0 xdp obj xdp_drop.bpf.o sec xdp
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int xdp_drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
