// SPDX-License-Identifier: GPL-2.0
/*
 * xdp_drop: throw every frame away at the earliest possible moment.
 *
 * With XDP_DROP the buffer goes straight back to the ring's page pool: no sk_buff is allocated and
 * the stack never learns that there was a frame. ARP is dropped as well, so a ping through the
 * port fails as a whole. The driver counts the frames as rx_queue_N_xdp_drop (`ethtool -S ox0`).
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
