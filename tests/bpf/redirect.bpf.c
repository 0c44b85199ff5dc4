// SPDX-License-Identifier: GPL-2.0
/*
 * Redirects probes to where the test wants them: to devices, CPUs and sockets. Each program is
 * there twice, since all programs of a map must have frags support, or none.
 */
#include "probe.h"

enum how {
	TO_STACK,
	TO_IFINDEX,		/* key is the index of the device */
	TO_DEVICE,		/* by the devmap's entry key */
	TO_ALL,			/* by all of the devmap's entries but those in flags */
	TO_CPU,			/* by the cpumap's entry key */
	TO_SOCKET,		/* of the frame's own queue */
	BACK,			/* XDP_TX */
	AS_PROBE_SAYS,		/* the probe's verdict: XDP_TX, PROBE_DEVMAP, ... */
};

struct steering {
	__u32 how;
	__u32 key;
	__u64 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct steering);
} steering SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 8);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct bpf_devmap_val));
} devices SEC(".maps");

/* For programs that run on an entry of the cpumap. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct bpf_devmap_val));
} beyond SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct bpf_cpumap_val));
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} sockets SEC(".maps");

/* Probes that a program on an entry of a map saw. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static long idle(__u32 index, void *ctx)
{
	return 0;
}

static __always_inline int back(struct xdp_md *ctx, struct probe *probe)
{
	/* A byte that only the program can have changed. */
	probe->mark ^= 0xff;
	swap_addresses(ctx);
	return XDP_TX;
}

static __always_inline int steer_one(struct xdp_md *ctx)
{
	struct steering *to;
	struct probe *probe = probe_of(ctx);
	__u32 zero = 0;

	to = bpf_map_lookup_elem(&steering, &zero);
	if (!to || !probe)
		return XDP_PASS;

	switch (to->how) {
	case TO_IFINDEX:
		return bpf_redirect(to->key, 0);
	case TO_DEVICE:
		return bpf_redirect_map(&devices, to->key, 0);
	case TO_ALL:
		return bpf_redirect_map(&devices, 0, to->flags);
	case TO_CPU:
		return bpf_redirect_map(&cpus, to->key, 0);
	case TO_SOCKET:
		return bpf_redirect_map(&sockets, ctx->rx_queue_index, 0);
	case BACK:
		return back(ctx, probe);
	case AS_PROBE_SAYS:
		/* One that came back must not bounce for ever. */
		if (probe->mark)
			return XDP_PASS;
		switch (probe->verdict) {
		case XDP_TX:
			return back(ctx, probe);
		case XDP_REDIRECT:
			return bpf_redirect_map(&cpus, 0, 0);
		case PROBE_DEVMAP:
			return bpf_redirect_map(&devices, 0, 0);
		case PROBE_DEVMAP_SECOND:
			return bpf_redirect_map(&devices, 1, 0);
		default:
			return probe->verdict;
		}
	default:
		return XDP_PASS;
	}
}

/* Runs on an entry of a map: marks the probe, or drops it if it says so. */
static __always_inline int mark_one(struct xdp_md *ctx, __u8 mark)
{
	struct probe *probe = probe_of(ctx);

	if (!probe)
		return XDP_PASS;
	add_one(&seen, 0);
	probe->mark ^= mark;
	return probe->verdict == XDP_DROP ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int steer(struct xdp_md *ctx)
{
	return steer_one(ctx);
}

SEC("xdp.frags")
int steer_frags(struct xdp_md *ctx)
{
	return steer_one(ctx);
}

SEC("xdp/devmap")
int device_mark(struct xdp_md *ctx)
{
	return mark_one(ctx, 0x11);
}

SEC("xdp.frags/devmap")
int device_mark_frags(struct xdp_md *ctx)
{
	return mark_one(ctx, 0x11);
}

/*
 * Drops the last 16 of 64 frames. If these are of one poll, they are a batch of
 * their own, the one that the kernel sends with XDP_XMIT_FLUSH.
 */
SEC("xdp/devmap")
int device_48_of_64(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *frames;

	frames = bpf_map_lookup_elem(&seen, &zero);
	if (!frames)
		return XDP_ABORTED;
	return (*frames)++ % 64 < 48 ? XDP_PASS : XDP_DROP;
}

/*
 * Every other frame goes to UDP port 10. The others go to port 9 whatever port they have: live
 * frames of BPF_PROG_RUN come back as they were left.
 */
SEC("xdp/devmap")
int device_two_ports(struct xdp_md *ctx)
{
	struct probe *probe = probe_of(ctx);
	__u32 zero = 0;
	struct udphdr *udp;
	__u64 *frames;

	frames = bpf_map_lookup_elem(&seen, &zero);
	if (!probe || !frames)
		return XDP_ABORTED;
	udp = (void *)probe - sizeof(*udp);
	udp->dest = (*frames)++ % 2 ? bpf_htons(10) : bpf_htons(9);
	return XDP_PASS;
}

SEC("xdp/cpumap")
int cpu_mark(struct xdp_md *ctx)
{
	return mark_one(ctx, 0x22);
}

SEC("xdp.frags/cpumap")
int cpu_mark_frags(struct xdp_md *ctx)
{
	return mark_one(ctx, 0x22);
}

SEC("xdp/cpumap")
int cpu_beyond(struct xdp_md *ctx)
{
	mark_one(ctx, 0x44);
	return bpf_redirect_map(&beyond, 0, 0);
}

SEC("xdp.frags/cpumap")
int cpu_beyond_frags(struct xdp_md *ctx)
{
	mark_one(ctx, 0x44);
	return bpf_redirect_map(&beyond, 0, 0);
}

static __always_inline int drop_after(struct xdp_md *ctx, __u32 loops)
{
	mark_one(ctx, 0);
	bpf_loop(loops, idle, NULL, 0);
	return XDP_DROP;
}

/* So slow that frames queue up for the CPU. */
SEC("xdp/cpumap")
int cpu_slow(struct xdp_md *ctx)
{
	return drop_after(ctx, 300000);
}

/* The same for a kernel that takes as long to send a frame. */
SEC("xdp/cpumap")
int cpu_slower(struct xdp_md *ctx)
{
	return drop_after(ctx, 1500000);
}

char _license[] SEC("license") = "GPL";
