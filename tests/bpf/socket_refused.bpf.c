// SPDX-License-Identifier: GPL-2.0
/*
 * Filters with the names of those in samples/bpf/socket_filter.bpf.c. The verifier refuses the
 * first one: a socket filter must not access the bytes of an sk_buff directly.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("socket")
int count_packet(struct __sk_buff *skb)
{
	return skb->data != skb->data_end;
}

SEC("socket")
int count_udp(struct __sk_buff *skb)
{
	return skb->len;
}

char _license[] SEC("license") = "GPL";
