// SPDX-License-Identifier: GPL-2.0
/*
 * xsk: what arrives at a queue goes to the AF_XDP socket of that queue.
 *
 * User space puts its sockets into the map, each at the number of the queue that it is bound to.
 * For a queue without a socket bpf_redirect_map() returns its last argument, so the stack gets the
 * frame. Only a socket that is bound to the queue at which the frame arrived can take it.
 *
 *     xsk receive ox0
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

SEC("xdp.frags")
int xsk(struct xdp_md *ctx)
{
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

char _license[] SEC("license") = "GPL";
