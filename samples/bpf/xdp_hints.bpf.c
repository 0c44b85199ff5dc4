// SPDX-License-Identifier: GPL-2.0
/*
 * xdp_hints: the metadata that the card has of a frame.
 *
 * The program asks for it with three kfuncs, whose calls the kernel replaces by calls of the
 * driver's functions. So the kernel must know the device when it loads the program, and the program
 * cannot be attached to another one:
 *
 *     bpftool prog load xdp_hints.bpf.o /sys/fs/bpf/hints type xdp xdpmeta_dev ox0
 *     ip link set dev ox0 xdp pinned /sys/fs/bpf/hints
 *     cat /sys/kernel/tracing/trace_pipe
 *
 * A call returns 0, or -ENODATA (-61) if there is no such metadata for this frame.
 */
#include <bpf/bpf_endian.h>
#include "xdp_metadata.h"

SEC("xdp.frags")
int xdp_hints(struct xdp_md *ctx)
{
	enum xdp_rss_hash_type type = 0;
	__u64 timestamp = 0;
	__be16 protocol = 0;
	__u32 hash = 0;
	__u16 tci = 0;
	int error;

	error = bpf_xdp_metadata_rx_timestamp(ctx, &timestamp);
	if (error)
		bpf_printk("timestamp: %d", error);
	else
		bpf_printk("timestamp: %llu ns ago", bpf_ktime_get_tai_ns() - timestamp);

	error = bpf_xdp_metadata_rx_hash(ctx, &hash, &type);
	if (error)
		bpf_printk("hash: %d", error);
	else
		bpf_printk("hash: 0x%x, type 0x%x", hash, type);

	error = bpf_xdp_metadata_rx_vlan_tag(ctx, &protocol, &tci);
	if (error)
		bpf_printk("vlan tag: %d", error);
	else
		bpf_printk("vlan tag: protocol 0x%x, id %d", bpf_ntohs(protocol), tci & 0xfff);

	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
