// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU that counts how often the guest executes each block of instructions. The
 * guest switches it with two instructions that a CPU takes for nothing,
 *
 *	nopl 0x6f780001(%rax,%rax,1)	start: all counts become zero
 *	nopl 0x6f780002(%rax,%rax,1)	stop: the counts are appended to the file out=FILE
 *
 * as blocks of lines: "profile", then for each block of code its address, its number of
 * instructions and how often it ran, then "end".
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 4;

/* A block of code. QEMU may translate it more than once; the entry stays. */
struct block {
	struct block *next;
	unsigned long address;
	unsigned long instructions;
	struct qemu_u64 count;
};

#define BUCKETS 65536

static struct block *blocks[BUCKETS];
static const char *out;

static const unsigned char marker[] = { 0x0f, 0x1f, 0x84, 0x00 };
static const unsigned char marker_value[] = { 0x00, 0x78, 0x6f };

static struct block *find(unsigned long address, unsigned long instructions)
{
	struct block **bucket = &blocks[(address ^ address >> 16) % BUCKETS];
	struct block *block;

	for (block = *bucket; block; block = block->next) {
		if (block->address == address && block->instructions == instructions)
			return block;
	}
	block = calloc(1, sizeof(*block));
	if (!block)
		abort();
	block->address = address;
	block->instructions = instructions;
	block->count.score = qemu_plugin_scoreboard_new(sizeof(unsigned long));
	block->next = *bucket;
	*bucket = block;
	return block;
}

static void start(unsigned int vcpu, void *data)
{
	struct block *block;
	size_t i;
	int cpu;

	for (i = 0; i < BUCKETS; i++) {
		for (block = blocks[i]; block; block = block->next) {
			for (cpu = 0; cpu < qemu_plugin_num_vcpus(); cpu++)
				qemu_plugin_u64_set(block->count, cpu, 0);
		}
	}
}

static void stop(unsigned int vcpu, void *data)
{
	FILE *file = fopen(out, "a");
	struct block *block;
	unsigned long count;
	size_t i;

	if (!file) {
		perror(out);
		return;
	}
	fprintf(file, "profile\n");
	for (i = 0; i < BUCKETS; i++) {
		for (block = blocks[i]; block; block = block->next) {
			count = qemu_plugin_u64_sum(block->count);
			if (count)
				fprintf(file, "%lx %lu %lu\n", block->address,
					block->instructions, count);
		}
	}
	fprintf(file, "end\n");
	fclose(file);
}

static void translated(unsigned long id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);
	struct block *block = find(qemu_plugin_tb_vaddr(tb), n);
	unsigned char code[8];
	size_t i;

	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_INLINE_ADD_U64, block->count, 1);
	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (qemu_plugin_insn_data(insn, code, sizeof(code)) < sizeof(code) ||
		    memcmp(code, marker, sizeof(marker)) ||
		    memcmp(code + 5, marker_value, sizeof(marker_value)))
			continue;
		if (code[4] == 1)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, start, QEMU_CB_NO_REGS, NULL);
		else if (code[4] == 2)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, stop, QEMU_CB_NO_REGS, NULL);
	}
}

EXPORT int qemu_plugin_install(unsigned long id, const struct qemu_info *info, int argc,
			       char **argv)
{
	int i;

	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = strdup(argv[i] + 4);
	}
	if (!out) {
		fprintf(stderr, "profile: out=FILE is missing\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
