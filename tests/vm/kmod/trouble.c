// SPDX-License-Identifier: GPL-2.0
/*
 * Makes happen often what happens seldom, on kernels without fault injection too:
 *
 * - page pools of the ports get no pages, while the parameter no_pages says so;
 * - a CPU loses time between any two instructions of some functions, as it does in a virtual
 *   machine whose host has other work. functions are their names, and len their lengths; of each,
 *   picks instructions are taken at random. Every one_in-th time that a CPU comes to one of them it
 *   waits for usecs microseconds.
 */

#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <net/page_pool/types.h>

#define FUNCTIONS 8
#define PROBES 512

static bool no_pages;
module_param(no_pages, bool, 0644);

static char *functions[FUNCTIONS];
static int count;
module_param_array(functions, charp, &count, 0444);

static unsigned int len[FUNCTIONS];
module_param_array(len, uint, NULL, 0444);

static unsigned int picks = 5;
module_param(picks, uint, 0444);

static unsigned int one_in = 8;
module_param(one_in, uint, 0644);

static unsigned int usecs = 20;
module_param(usecs, uint, 0644);

/* In how many places CPUs lose time. */
static unsigned int places;
module_param(places, uint, 0444);

static struct kprobe *slow;
static struct kprobe *registered[PROBES];
static unsigned int probes;
static atomic_t hits;

static int refuse_pages(struct kprobe *p, struct pt_regs *regs)
{
	const struct page_pool *pool = (const struct page_pool *)regs->di;

	if (!READ_ONCE(no_pages) || !pool->slow.netdev ||
	    strncmp(pool->slow.netdev->name, "ox", 2))
		return 0;
	/* Returns NULL at once. */
	regs->ax = 0;
	regs->ip = *(unsigned long *)regs->sp;
	regs->sp += sizeof(unsigned long);
	return 1;
}

/* With one the kernel does not turn the probe into a jump, where regs->ip could not be changed. */
static void keep_trap(struct kprobe *p, struct pt_regs *regs, unsigned long flags)
{
}

static struct kprobe pages = {
	.symbol_name = "page_pool_alloc_netmems",
	.pre_handler = refuse_pages,
	.post_handler = keep_trap,
};

static int lose_time(struct kprobe *p, struct pt_regs *regs)
{
	u32 hit = atomic_inc_return(&hits);

	/* The hash, as the same instruction would else be hit whenever one_in fits. */
	if (hash_32(hit, 16) % max(READ_ONCE(one_in), 1u) == 0)
		udelay(READ_ONCE(usecs));
	return 0;
}

/*
 * Whether an instruction is movl $1, 8(reg). In smp_call_function_single_async() this takes the
 * lock of a call that was found unlocked.
 */
static bool sets_lock(const struct kprobe *probe)
{
	static const u8 operands[] = { 8, 1, 0, 0, 0 };
	const u8 *code = (const u8 *)&probe->ainsn.insn[0];

	return probe->opcode == 0xc7 && !memcmp(code + 2, operands, sizeof(operands));
}

static void lose_time_at(struct kprobe *probe)
{
	if (enable_kprobe(probe) == 0)
		places++;
}

static void probe_function(const char *name, unsigned int end)
{
	unsigned int first = probes, at;

	for (at = 0; at < end && probes < PROBES; at++) {
		struct kprobe *probe = &slow[probes];

		memset(probe, 0, sizeof(*probe));
		probe->symbol_name = name;
		probe->offset = at;
		probe->pre_handler = lose_time;
		probe->flags = KPROBE_FLAG_DISABLED;
		/* Most bytes do not begin an instruction, and some of those cannot be probed. */
		if (register_kprobe(probe))
			continue;
		registered[probes++] = probe;
		if (sets_lock(probe))
			lose_time_at(probe);
	}
	for (at = 0; at < picks && probes > first; at++)
		lose_time_at(&slow[get_random_u32_inclusive(first, probes - 1)]);
}

static void trouble_exit(void)
{
	/* All at once: each time takes a grace period. */
	unregister_kprobes(registered, probes);
	unregister_kprobe(&pages);
	kfree(slow);
}

static int __init trouble_init(void)
{
	int error, n;

	slow = kcalloc(PROBES, sizeof(*slow), GFP_KERNEL);
	if (!slow)
		return -ENOMEM;
	error = register_kprobe(&pages);
	if (error) {
		kfree(slow);
		return error;
	}
	for (n = 0; n < count; n++)
		probe_function(functions[n], len[n]);
	return 0;
}

module_init(trouble_init);
module_exit(trouble_exit);
MODULE_DESCRIPTION("What happens seldom, on purpose");
MODULE_LICENSE("GPL");
