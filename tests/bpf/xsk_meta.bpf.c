// SPDX-License-Identifier: GPL-2.0
/*
 * A device-bound program that puts what the port knows of a frame, and a number of its own, in
 * front of the frame, and gives it to the AF_XDP socket of the queue.
 */
#include "../../samples/bpf/xdp_metadata.h"
#include "probe.h"

struct note {
	__u64 stamp;
	__u32 hash;
	__s32 stamp_error;
	__s32 hash_error;
	__u32 len;		/* of the frame */
	__u32 seq;		/* of the probe, */
	__u32 inverse;		/* and all of its bits flipped */
};

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} sockets SEC(".maps");

SEC("xdp.frags")
int xsk_meta(struct xdp_md *ctx)
{
	enum xdp_rss_hash_type type = 0;
	struct probe *probe;
	struct note *note;
	int stamp_error, hash_error;
	__u64 stamp = 0;
	__u32 hash = 0;

	stamp_error = bpf_xdp_metadata_rx_timestamp(ctx, &stamp);
	hash_error = bpf_xdp_metadata_rx_hash(ctx, &hash, &type);
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*note)))
		return XDP_ABORTED;
	probe = probe_of(ctx);
	note = (void *)(long)ctx->data_meta;
	if (!probe || (void *)(note + 1) > (void *)(long)ctx->data)
		return XDP_ABORTED;
	note->stamp = stamp;
	note->hash = hash;
	note->stamp_error = stamp_error;
	note->hash_error = hash_error;
	note->len = bpf_xdp_get_buff_len(ctx);
	note->seq = bpf_ntohl(probe->seq);
	note->inverse = ~note->seq;
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_ABORTED);
}

char _license[] SEC("license") = "GPL";
