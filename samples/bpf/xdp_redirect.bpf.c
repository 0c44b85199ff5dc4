// SPDX-License-Identifier: GPL-2.0
/*
 * xdp_redirect: every frame that arrives at one port is sent out of another.
 *
 * A devmap says which port belongs to which. Its values are devices: user space writes the index of
 * an interface, and the kernel stores the device (and removes the entry when the device goes). The
 * key is the index of the interface at which the frame arrived. bpf_redirect_map() stores the
 * target and returns XDP_REDIRECT. After the program has ended, the target's ndo_xdp_xmit sends the
 * frame, in a batch with others. For a port that is not in the map it returns its last argument, so
 * the stack gets the frame.
 *
 * The section xdp.frags declares that the program supports multi-buffer frames, which it does since
 * it does not access their bytes. So it may be attached at any MTU.
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
