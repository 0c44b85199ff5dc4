// SPDX-License-Identifier: GPL-2.0
/* Programs at the tracepoint oxnic:verdict that count the verdicts of one program. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* Frames and bytes. */
struct count {
	__u64 frames;
	__u64 bytes;
};

/* By verdict. */
struct counts {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct count);
};

struct counts raw SEC(".maps");
struct counts event SEC(".maps");

static __always_inline void add(void *map, __u32 act, __u32 len)
{
	struct count *count = bpf_map_lookup_elem(map, &act);

	if (!count)
		return;
	__sync_fetch_and_add(&count->frames, 1);
	__sync_fetch_and_add(&count->bytes, len);
}

/* The arguments of the tracepoint: dev, queue, prog_id, len, buffers, act. */
SEC("raw_tp/verdict")
int count_raw(struct bpf_raw_tracepoint_args *ctx)
{
	add(&raw, ctx->args[5], ctx->args[3]);
	return 0;
}

/* The event, as events/oxnic/verdict/format in tracefs describes it. */
struct verdict {
	__u64 common;
	__u32 name;
	__s32 ifindex;
	__u16 queue;
	__u32 prog_id;
	__u32 len;
	__u32 buffers;
	__u32 act;
};

SEC("tracepoint/oxnic/verdict")
int count_event(struct verdict *ctx)
{
	add(&event, ctx->act, ctx->len);
	return 0;
}

char _license[] SEC("license") = "GPL";
