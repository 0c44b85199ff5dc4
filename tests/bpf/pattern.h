/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a program writes before a frame after it has moved the head: PATTERN_SIZE bytes, which the
 * program defines.
 */
#ifndef PATTERN_H
#define PATTERN_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bytes {
	__u8 at[PATTERN_SIZE];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bytes);
} pattern SEC(".maps");

#endif
