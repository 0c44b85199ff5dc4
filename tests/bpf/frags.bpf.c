// SPDX-License-Identifier: GPL-2.0
/* Programs that access all parts of a multi-buffer frame, and programs that only count. */
#include "probe.h"

#define CHUNK		512	/* the most that one access copies */

struct access {
	__u32 offset;
	__u32 len;
	__s32 delta;		/* for bpf_xdp_adjust_head or bpf_xdp_adjust_tail */
	__u32 act;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct access);
} config SEC(".maps");

struct chunk {
	__u8 at[CHUNK];
};

/* 0: what was found, 1: what to write. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct chunk);
} chunks SEC(".maps");

/* What the last frame was: its length, the bytes in its first buffer, results of the helpers. */
struct outcome {
	__u64 frames;
	__u64 len;
	__u64 linear;
	__s64 load;
	__s64 store;
	__s64 adjust;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct outcome);
} outcome SEC(".maps");

static __always_inline struct outcome *look(struct xdp_md *ctx)
{
	struct outcome *out;
	__u32 zero = 0;

	out = bpf_map_lookup_elem(&outcome, &zero);
	if (!out)
		return NULL;
	out->len = bpf_xdp_get_buff_len(ctx);
	out->linear = ctx->data_end - ctx->data;
	__sync_fetch_and_add(&out->frames, 1);
	return out;
}

/* Reads a piece of the frame, then writes another one in its place. */
SEC("xdp.frags")
int exchange(struct xdp_md *ctx)
{
	__u32 zero = 0, one = 1;
	struct chunk *found, *fresh;
	struct access *conf;
	struct outcome *out;
	__u64 len;

	conf = bpf_map_lookup_elem(&config, &zero);
	found = bpf_map_lookup_elem(&chunks, &zero);
	fresh = bpf_map_lookup_elem(&chunks, &one);
	out = look(ctx);
	if (!conf || !found || !fresh || !out)
		return XDP_ABORTED;
	/* The verifier must see one 64-bit register compared and used, not two halves. */
	len = conf->len;
	barrier_var(len);
	if (!len || len > CHUNK)
		return XDP_ABORTED;
	out->load = bpf_xdp_load_bytes(ctx, conf->offset, found->at, len);
	out->store = bpf_xdp_store_bytes(ctx, conf->offset, fresh->at, len);
	return conf->act;
}

SEC("xdp.frags")
int adjust_head(struct xdp_md *ctx)
{
	struct access *conf;
	struct outcome *out;
	__u32 zero = 0;

	conf = bpf_map_lookup_elem(&config, &zero);
	out = look(ctx);
	if (!conf || !out)
		return XDP_ABORTED;
	out->adjust = bpf_xdp_adjust_head(ctx, conf->delta);
	if (out->adjust)
		return XDP_DROP;
	if (conf->act == XDP_REDIRECT)
		return bpf_redirect(ctx->ingress_ifindex, 0);
	return conf->act;
}

SEC("xdp.frags")
int adjust_tail(struct xdp_md *ctx)
{
	struct access *conf;
	struct outcome *out;
	__u32 zero = 0;

	conf = bpf_map_lookup_elem(&config, &zero);
	out = look(ctx);
	if (!conf || !out)
		return XDP_ABORTED;
	out->adjust = bpf_xdp_adjust_tail(ctx, conf->delta);
	return out->adjust ? XDP_DROP : conf->act;
}

SEC("xdp.frags")
int frags_pass(struct xdp_md *ctx)
{
	look(ctx);
	return XDP_PASS;
}

SEC("xdp.frags")
int frags_drop(struct xdp_md *ctx)
{
	look(ctx);
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
