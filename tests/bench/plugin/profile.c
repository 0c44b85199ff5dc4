// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU that counts how often the guest, with one CPU, executes each block of
 * instructions. The guest switches it with two instructions that a CPU takes for nothing,
 *
 *	nopl 0x6f780001(%rax,%rax,1)	start: all counts become zero
 *	nopl 0x6f780002(%rax,%rax,1)	stop: the counts are appended to the file out=FILE
 *
 * as blocks of lines: "profile", then for each block of code its address, its number of
 * instructions, and how often it ran outside and inside of a NAPI poll, then "end".
 *
 * What is inside of a poll the guest says before it starts, in the file ranges=FILE: lines with 1
 * or 0, the address of the first instruction of a function and that after its last. From an
 * instruction in a function with 1 on, all is inside, whatever is called; from one in a function
 * with 0 on, all is outside.
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
	unsigned long count[2];
	/* What it makes of inside: 0, 1, or -1 for nothing. */
	int makes;
};

struct range {
	unsigned long start;
	unsigned long end;
	int makes;
};

#define BUCKETS 65536
#define RANGES 8

static struct block *blocks[BUCKETS];
static struct range ranges[RANGES];
static int inside;
static const char *out, *ranges_file;

static const unsigned char marker[] = { 0x0f, 0x1f, 0x84, 0x00 };
static const unsigned char marker_value[] = { 0x00, 0x78, 0x6f };

static int makes(unsigned long address)
{
	size_t i;

	for (i = 0; i < RANGES; i++) {
		if (address >= ranges[i].start && address < ranges[i].end)
			return ranges[i].makes;
	}
	return -1;
}

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
	block->makes = makes(address);
	block->next = *bucket;
	*bucket = block;
	return block;
}

static void executed(unsigned int vcpu, void *data)
{
	struct block *block = data;

	if (block->makes >= 0)
		inside = block->makes;
	block->count[inside]++;
}

static void read_ranges(void)
{
	FILE *file = fopen(ranges_file, "r");
	size_t i;

	memset(ranges, 0, sizeof(ranges));
	if (!file) {
		perror(ranges_file);
		return;
	}
	for (i = 0; i < RANGES; i++) {
		if (fscanf(file, "%d %lx %lx", &ranges[i].makes, &ranges[i].start,
			   &ranges[i].end) != 3)
			break;
	}
	fclose(file);
}

static void start(unsigned int vcpu, void *data)
{
	struct block *block;
	size_t i;

	read_ranges();
	inside = 0;
	for (i = 0; i < BUCKETS; i++) {
		for (block = blocks[i]; block; block = block->next) {
			memset(block->count, 0, sizeof(block->count));
			block->makes = makes(block->address);
		}
	}
}

static void stop(unsigned int vcpu, void *data)
{
	FILE *file = fopen(out, "a");
	struct block *block;
	size_t i;

	if (!file) {
		perror(out);
		return;
	}
	fprintf(file, "profile\n");
	for (i = 0; i < BUCKETS; i++) {
		for (block = blocks[i]; block; block = block->next) {
			if (block->count[0] || block->count[1])
				fprintf(file, "%lx %lu %lu %lu\n", block->address,
					block->instructions, block->count[0], block->count[1]);
		}
	}
	fprintf(file, "end\n");
	fclose(file);
}

static void translated(unsigned long id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);
	unsigned char code[8];
	size_t i;

	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_CB_NO_REGS,
					     find(qemu_plugin_tb_vaddr(tb), n));
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

static const char *value(const char *argument, const char *name)
{
	size_t length = strlen(name);

	return strncmp(argument, name, length) ? NULL : strdup(argument + length);
}

EXPORT int qemu_plugin_install(unsigned long id, const struct qemu_info *info, int argc,
			       char **argv)
{
	int i;

	for (i = 0; i < argc; i++) {
		if (!out)
			out = value(argv[i], "out=");
		if (!ranges_file)
			ranges_file = value(argv[i], "ranges=");
	}
	if (!out || !ranges_file) {
		fprintf(stderr, "profile: out=FILE or ranges=FILE is missing\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
