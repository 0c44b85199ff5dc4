// SPDX-License-Identifier: GPL-2.0
/*
 * Makes the tracepoints of events.h, and for each the function by which Rust
 * calls it.
 */
#include <linux/bpf.h>

/* The id of a program that somebody holds a reference to; without one 0. */
static u32 prog_id_of(const struct bpf_prog *prog)
{
	return prog ? prog->aux->id : 0;
}

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "events.h"
