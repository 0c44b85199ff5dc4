// SPDX-License-Identifier: GPL-2.0
/*
 * What a device passed to the stack with a frame: its hash, the state of its checksum, its VLAN
 * tag.
 */
#include "probe.h"
#include <linux/pkt_cls.h>

struct observation {
	__u64 frames;
	__u32 hash;		/* 0: none */
	__s32 csum_level;	/* negative: not verified by the device */
	__u32 vlan;		/* protocol << 16 | control word; or 0 for no tag */
	__u32 len;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct observation);
} last SEC(".maps");

SEC("classifier")
int observe(struct __sk_buff *skb)
{
	struct observation *seen;
	__u32 zero = 0;

	seen = bpf_map_lookup_elem(&last, &zero);
	if (seen) {
		seen->hash = skb->hash;
		seen->csum_level = bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY);
		seen->vlan = 0;
		if (skb->vlan_present)
			seen->vlan = bpf_ntohs(skb->vlan_proto) << 16 | (skb->vlan_tci & 0xffff);
		seen->len = skb->len;
		__sync_fetch_and_add(&seen->frames, 1);
	}
	return TC_ACT_OK;
}

char _license[] SEC("license") = "GPL";
