// SPDX-License-Identifier: GPL-2.0
/* Moves the head or the tail of a frame, or puts metadata before it. */
#define PATTERN_SIZE	256

#include "pattern.h"
#include "probe.h"
#include "targets.h"
#include <linux/pkt_cls.h>

struct adjust_config {
	__s32 delta;		/* the argument of the helper */
	__u32 act;		/* verdict if the helper succeeds */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct adjust_config);
} config SEC(".maps");

/* How often the helper refused. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} refused SEC(".maps");

/* The metadata that read_meta found, by the frame's sequence number. */
struct meta {
	__u32 seq;
	__u32 words[7];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct meta);
} metas SEC(".maps");

/* Frames without metadata that read_meta saw. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} bare SEC(".maps");

static __always_inline int refuse(void)
{
	add_one(&refused, 0);
	return XDP_DROP;
}

SEC("xdp")
int adjust_head(struct xdp_md *ctx)
{
	struct adjust_config *conf;
	__u32 zero = 0;
	struct bytes *bytes;
	__u64 len;

	conf = bpf_map_lookup_elem(&config, &zero);
	bytes = bpf_map_lookup_elem(&pattern, &zero);
	if (!conf || !bytes)
		return XDP_DROP;
	if (bpf_xdp_adjust_head(ctx, conf->delta))
		return refuse();
	if (conf->delta < 0) {
		/* The verifier must see one 64-bit register compared and used, not two halves. */
		len = -(__s64)conf->delta;
		barrier_var(len);
		if (!len || len > PATTERN_SIZE)
			return refuse();
		if (bpf_xdp_store_bytes(ctx, 0, bytes->at, len))
			return refuse();
	}
	return conf->act;
}

SEC("xdp")
int adjust_tail(struct xdp_md *ctx)
{
	struct adjust_config *conf;
	__u32 zero = 0;

	conf = bpf_map_lookup_elem(&config, &zero);
	if (!conf)
		return XDP_DROP;
	if (bpf_xdp_adjust_tail(ctx, conf->delta))
		return refuse();
	return conf->act;
}

SEC("xdp")
int write_meta(struct xdp_md *ctx)
{
	struct adjust_config *conf;
	struct probe *probe;
	struct meta *meta;
	__u32 zero = 0;
	int i;

	conf = bpf_map_lookup_elem(&config, &zero);
	if (!conf)
		return XDP_DROP;
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return refuse();

	probe = probe_of(ctx);
	meta = (void *)(long)ctx->data_meta;
	if (!probe || (void *)(meta + 1) > (void *)(long)ctx->data)
		return refuse();
	meta->seq = bpf_ntohl(probe->seq);
	for (i = 0; i < 7; i++)
		meta->words[i] = meta->seq * 7 + i;
	switch (conf->act) {
	case XDP_REDIRECT:
		return bpf_redirect_map(&cpus, 0, 0);
	case PROBE_DEVMAP:
		return bpf_redirect_map(&devs, 0, 0);
	default:
		return conf->act;
	}
}

SEC("classifier")
int read_meta(struct __sk_buff *skb)
{
	struct meta *meta = (void *)(long)skb->data_meta;
	__u32 seq;

	if ((void *)(meta + 1) > (void *)(long)skb->data) {
		add_one(&bare, 0);
		return TC_ACT_OK;
	}
	seq = meta->seq;
	bpf_map_update_elem(&metas, &seq, meta, BPF_ANY);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "GPL";
