// SPDX-License-Identifier: GPL-2.0
/*
 * Drops frames from blocked addresses, and frames from any other source beyond a rate limit. The
 * sample ddos_filter attaches it and pins the maps, so that they can be changed under traffic.
 *
 * For each IP frame, in this order:
 *
 * 1. the longest matching prefix in the list decides, if there is one: the frame is dropped, or
 *    passes without a limit;
 * 2. otherwise the rate limit of the source decides.
 *
 * Frames that are not IP pass.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_RULES	1024
#define MAX_SOURCES	65536
#define MAX_TAGS	2
/* How often the change of an account is retried if another CPU changes it meanwhile. */
#define MAX_TRIES	4

/* The decision about a frame. */
enum fate {
	PASSED,
	BLOCKED,
	LIMITED,
	FATES,
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct rule {
	/* The index of the rule's counter. */
	__u32 slot;
	/* Not 0: they pass. */
	__u32 pass;
};

struct prefix_v4 {
	__u32 length;
	__u8 address[4];
};

struct prefix_v6 {
	__u32 length;
	__u8 address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_RULES);
	__type(key, struct prefix_v4);
	__type(value, struct rule);
} rules_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_RULES);
	__type(key, struct prefix_v6);
	__type(value, struct rule);
} rules_v6 SEC(".maps");

/* Frames of each rule, by its slot, per CPU, so that CPUs do not contend. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_RULES);
	__type(key, __u32);
	__type(value, struct counter);
} hits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FATES);
	__type(key, __u32);
	__type(value, struct counter);
} totals SEC(".maps");

struct limit {
	/* The interval between two frames, in nanoseconds; 0: there is no limit. */
	__u64 cost;
	/* How far a source may be ahead of its rate, in nanoseconds: the burst. */
	__u64 credit;
	/* The rate and burst from which these two were computed, to be shown. */
	__u64 rate;
	__u64 burst;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct limit);
} limits SEC(".maps");

struct source {
	__u8 address[16];
};

struct account {
	/* The time at which all frames so far would be within the rate (bpf_ktime_get_ns). */
	__u64 paid;
	/* How many of its frames were dropped. */
	__u64 dropped;
};

/* A new source replaces the one that has been silent for longest. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_SOURCES);
	__type(key, struct source);
	__type(value, struct account);
} accounts SEC(".maps");

static __always_inline void count(void *counters, __u32 index, __u64 bytes)
{
	struct counter *counter = bpf_map_lookup_elem(counters, &index);

	if (counter) {
		counter->packets += 1;
		counter->bytes += bytes;
	}
}

static __always_inline int fate_by_rule(const struct rule *rule, __u64 bytes)
{
	count(&hits, rule->slot, bytes);
	return rule->pass ? PASSED : BLOCKED;
}

/*
 * The generic cell rate algorithm: each frame moves the time of its source's account by one
 * interval. A frame that would move it too far into the future is dropped. The account is one
 * number, changed by compare-and-exchange, so CPUs that receive from the same source need no lock.
 */
static __always_inline int fate_by_limit(const struct source *source)
{
	__u32 zero = 0;
	struct limit *limit = bpf_map_lookup_elem(&limits, &zero);
	struct account *account;
	__u64 now, paid;
	int i;

	if (!limit || !limit->cost)
		return PASSED;

	now = bpf_ktime_get_ns();
	account = bpf_map_lookup_elem(&accounts, source);
	if (!account) {
		struct account fresh = { .paid = now + limit->cost };

		bpf_map_update_elem(&accounts, source, &fresh, BPF_ANY);
		return PASSED;
	}

	paid = account->paid;
	for (i = 0; i < MAX_TRIES; i++) {
		__u64 from = paid > now ? paid : now;
		__u64 found;

		if (from - now > limit->credit)
			break;
		found = __sync_val_compare_and_swap(&account->paid, paid, from + limit->cost);
		if (found == paid)
			return PASSED;
		paid = found;
	}
	__sync_fetch_and_add(&account->dropped, 1);
	return LIMITED;
}

static __always_inline int fate_v4(struct iphdr *ip, void *data_end, __u64 bytes)
{
	struct prefix_v4 prefix = { .length = 32 };
	/* As an IPv4-mapped IPv6 address, ::ffff:0:0/96. */
	struct source source = { .address = { [10] = 0xff, [11] = 0xff } };
	struct rule *rule;

	if ((void *)(ip + 1) > data_end)
		return PASSED;
	__builtin_memcpy(prefix.address, &ip->saddr, sizeof(ip->saddr));
	rule = bpf_map_lookup_elem(&rules_v4, &prefix);
	if (rule)
		return fate_by_rule(rule, bytes);
	__builtin_memcpy(source.address + 12, &ip->saddr, sizeof(ip->saddr));
	return fate_by_limit(&source);
}

static __always_inline int fate_v6(struct ipv6hdr *ip, void *data_end, __u64 bytes)
{
	struct prefix_v6 prefix = { .length = 128 };
	struct source source = {};
	struct rule *rule;

	if ((void *)(ip + 1) > data_end)
		return PASSED;
	__builtin_memcpy(prefix.address, &ip->saddr, sizeof(ip->saddr));
	rule = bpf_map_lookup_elem(&rules_v6, &prefix);
	if (rule)
		return fate_by_rule(rule, bytes);
	/* A host can choose any address of its /64, so the /64 is one source. */
	__builtin_memcpy(source.address, &ip->saddr, 8);
	return fate_by_limit(&source);
}

struct vlan {
	__be16 tci;
	__be16 proto;
};

static __always_inline int fate_of(struct xdp_md *ctx, __u64 bytes)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	void *header = eth + 1;
	__be16 proto;
	int i;

	if (header > data_end)
		return PASSED;
	proto = eth->h_proto;
	for (i = 0; i < MAX_TAGS; i++) {
		struct vlan *vlan = header;

		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(vlan + 1) > data_end)
			return PASSED;
		proto = vlan->proto;
		header = vlan + 1;
	}

	switch (proto) {
	case bpf_htons(ETH_P_IP):
		return fate_v4(header, data_end, bytes);
	case bpf_htons(ETH_P_IPV6):
		return fate_v6(header, data_end, bytes);
	default:
		return PASSED;
	}
}

SEC("xdp.frags")
int ddos_filter(struct xdp_md *ctx)
{
	__u64 bytes = bpf_xdp_get_buff_len(ctx);
	int fate = fate_of(ctx, bytes);

	count(&totals, fate, bytes);
	return fate == PASSED ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
