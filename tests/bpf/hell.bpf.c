// SPDX-License-Identifier: GPL-2.0
/*
 * Does to each probe what the test wrote for its number, valid or not: moves its head and its tail,
 * reserves metadata, and returns any verdict.
 */
#define PATTERN_SIZE	512
#define STEPS		4096

#include "pattern.h"
#include "probe.h"

/* Values of step.act that the program handles itself. */
#define NO_ENTRY	0x88	/* redirect through an empty entry of a devmap */

#define DID_HEAD	1
#define DID_TAIL	2
#define DID_META	4

struct step {
	__s32 head;		/* arguments of the helpers */
	__s32 tail;
	__s32 meta;
	__u32 act;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STEPS);
	__type(key, __u32);
	__type(value, struct step);
} steps SEC(".maps");

/* The result: which helpers succeeded, and the length of the frame. */
struct outcome {
	__u32 did;
	__u32 len;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STEPS);
	__type(key, __u32);
	__type(value, struct outcome);
} outcomes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct bpf_devmap_val));
} devices SEC(".maps");

SEC("xdp")
int hell(struct xdp_md *ctx)
{
	struct outcome outcome = {};
	struct probe *probe = probe_of(ctx);
	struct bytes *bytes;
	__u32 seq, zero = 0;
	struct step *step;
	__u64 len;

	if (!probe)
		return XDP_PASS;
	seq = bpf_ntohl(probe->seq);
	step = bpf_map_lookup_elem(&steps, &seq);
	bytes = bpf_map_lookup_elem(&pattern, &zero);
	if (!step || !bytes)
		return XDP_PASS;

	if (!bpf_xdp_adjust_head(ctx, step->head))
		outcome.did |= DID_HEAD;
	if (outcome.did && step->head < 0) {
		/* The verifier must see one 64-bit register compared and used, not two halves. */
		len = -(__s64)step->head;
		barrier_var(len);
		if (!len || len > PATTERN_SIZE || bpf_xdp_store_bytes(ctx, 0, bytes->at, len))
			return XDP_DROP;
	}
	if (!bpf_xdp_adjust_tail(ctx, step->tail))
		outcome.did |= DID_TAIL;
	if (!bpf_xdp_adjust_meta(ctx, step->meta))
		outcome.did |= DID_META;
	outcome.len = ctx->data_end - ctx->data;
	bpf_map_update_elem(&outcomes, &seq, &outcome, BPF_ANY);

	switch (step->act) {
	case PROBE_DEVMAP:
		return bpf_redirect_map(&devices, 0, 0);
	case NO_ENTRY:
		return bpf_redirect_map(&devices, 1, 0);
	case PROBE_BAD_REDIRECT:
		return bpf_redirect(0x7ffffff0, 0);
	default:
		return step->act;
	}
}

char _license[] SEC("license") = "GPL";
