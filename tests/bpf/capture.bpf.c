// SPDX-License-Identifier: GPL-2.0
/* Copies every frame to user space as it was received, then passes it. */
#include "probe.h"

#define FRAME_MAX	3456	/* the size of a receive buffer */
#define FRAGS_MAX	65557	/* the longest frame that a port receives */
#define PART_MAX	32768

struct record {
	__u32 len;
	__u32 queue;
	__u8 data[FRAME_MAX];
};

struct long_record {
	__u32 len;
	__u32 queue;
	__u8 data[FRAGS_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024);
} frames SEC(".maps");

/* Frames for which the ring buffer had no room. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} missed SEC(".maps");

static __always_inline int miss(void)
{
	add_one(&missed, 0);
	return XDP_PASS;
}

SEC("xdp")
int capture(struct xdp_md *ctx)
{
	struct record *rec;
	__u64 len;

	rec = bpf_ringbuf_reserve(&frames, sizeof(*rec), 0);
	if (!rec)
		return miss();
	/* The verifier must see one 64-bit register compared and used, not two halves. */
	len = (long)ctx->data_end - (long)ctx->data;
	barrier_var(len);
	if (!len || len > FRAME_MAX) {
		bpf_ringbuf_discard(rec, 0);
		return XDP_ABORTED;
	}
	rec->len = len;
	rec->queue = ctx->rx_queue_index;
	if (bpf_xdp_load_bytes(ctx, 0, rec->data, len)) {
		bpf_ringbuf_discard(rec, 0);
		return XDP_ABORTED;
	}
	bpf_ringbuf_submit(rec, 0);
	return XDP_PASS;
}

/* In two parts: bpf_xdp_load_bytes() does not take more than 65535 bytes at once. */
static __always_inline long load(struct xdp_md *ctx, struct long_record *rec, __u64 len)
{
	long err;

	if (len <= PART_MAX)
		return bpf_xdp_load_bytes(ctx, 0, rec->data, len);
	err = bpf_xdp_load_bytes(ctx, 0, rec->data, PART_MAX);
	len -= PART_MAX;
	barrier_var(len);
	if (err || !len || len > FRAGS_MAX - PART_MAX)
		return -1;
	return bpf_xdp_load_bytes(ctx, PART_MAX, rec->data + PART_MAX, len);
}

/* The same for multi-buffer frames; there is room for about a hundred. */
SEC("xdp.frags")
int capture_frags(struct xdp_md *ctx)
{
	struct long_record *rec;
	__u64 len;

	rec = bpf_ringbuf_reserve(&frames, sizeof(*rec), 0);
	if (!rec)
		return miss();
	len = bpf_xdp_get_buff_len(ctx);
	barrier_var(len);
	if (!len || len > FRAGS_MAX) {
		bpf_ringbuf_discard(rec, 0);
		return XDP_ABORTED;
	}
	rec->len = len;
	rec->queue = ctx->rx_queue_index;
	if (load(ctx, rec, len)) {
		bpf_ringbuf_discard(rec, 0);
		return XDP_ABORTED;
	}
	bpf_ringbuf_submit(rec, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
