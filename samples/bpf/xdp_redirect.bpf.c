// SPDX-License-Identifier: GPL-2.0
/*
 * xdp_redirect: a patch panel. Every frame that comes in by one port goes out by another.
 *
 * Which port belongs to which is in a map. A devmap holds devices: user space writes the number of
 * an interface, the kernel keeps the device itself (and forgets it when the device goes). The key
 * is the interface that the frame came in by. bpf_redirect_map() notes the target and returns
 * XDP_REDIRECT; the frame is sent after the program has ended, by the ndo_xdp_xmit of the target,
 * and in batches. For a port that is not in the map it returns its last argument, and so the stack
 * gets the frame.
 *
 * The section xdp.frags says that the program can handle frames in several buffers, as it does not
 * look into them at all. So it may be attached whatever the MTU is.
 *
 * Both ports need the same map, so the program is loaded once and attached twice. bpftool takes
 * bytes: with ox0 as interface 2 and ox2 as interface 4,
 *
 *     bpftool prog load xdp_redirect.bpf.o /sys/fs/bpf/redirect
 *     bpftool map update name xdp_ports key 2 0 0 0 value 4 0 0 0
 *     bpftool map update name xdp_ports key 4 0 0 0 value 2 0 0 0
 *     ip link set dev ox0 xdp pinned /sys/fs/bpf/redirect
 *     ip link set dev ox2 xdp pinned /sys/fs/bpf/redirect
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, __u32);
} xdp_ports SEC(".maps");

SEC("xdp.frags")
int xdp_redirect(struct xdp_md *ctx)
{
	return bpf_redirect_map(&xdp_ports, ctx->ingress_ifindex, XDP_PASS);
}

char _license[] SEC("license") = "GPL";
