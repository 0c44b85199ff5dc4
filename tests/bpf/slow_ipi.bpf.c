// SPDX-License-Identifier: GPL-2.0
/*
 * Makes one CPU slow to handle inter-processor interrupts: it waits before it calls the function
 * that it was interrupted for. Meanwhile another CPU sees the interrupt as still under way.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Nanoseconds; the clock may be slow to read. */
#define WAIT 20000000
#define READS_MAX 1000000

/* The number of the CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} cpu SEC(".maps");

static long is_over(__u32 n, __u64 *start)
{
	return bpf_ktime_get_ns() - *start > WAIT;
}

SEC("raw_tp")
int slow_ipi(void *ctx)
{
	__u32 zero = 0;
	__u32 *number = bpf_map_lookup_elem(&cpu, &zero);
	__u64 start = bpf_ktime_get_ns();

	if (number && *number == bpf_get_smp_processor_id())
		bpf_loop(READS_MAX, is_over, &start, 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
