// SPDX-License-Identifier: GPL-2.0
/*
 * xdp_hints: what does the card know about a frame besides its bytes?
 *
 * The kernel replaces the three calls below by calls of the driver's own functions when the program
 * is loaded. So it must know the device by then, and the program can be attached to no other:
 *
 *     bpftool prog load xdp_hints.bpf.o /sys/fs/bpf/hints type xdp xdpmeta_dev ox0
 *     ip link set dev ox0 xdp pinned /sys/fs/bpf/hints
 *     cat /sys/kernel/tracing/trace_pipe
 *
 * A call returns 0, or -ENODATA (-61) where the card has nothing to say about this frame.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* What the hash was computed over. The kernel has more of these; the tag is what must agree. */
enum xdp_rss_hash_type {
	XDP_RSS_L3_IPV4 = 1 << 0,
	XDP_RSS_L3_IPV6 = 1 << 1,
	XDP_RSS_L4 = 1 << 3,
	XDP_RSS_L4_TCP = 1 << 4,
	XDP_RSS_L4_UDP = 1 << 5,
};

extern int bpf_xdp_metadata_rx_timestamp(const struct xdp_md *ctx, __u64 *timestamp) __ksym;
extern int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, __u32 *hash,
				    enum xdp_rss_hash_type *type) __ksym;
extern int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md *ctx, __be16 *protocol,
					__u16 *tci) __ksym;

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
