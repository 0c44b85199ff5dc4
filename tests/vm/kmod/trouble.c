// SPDX-License-Identifier: GPL-2.0
/*
 * Makes rare events frequent, also on kernels without fault injection:
 *
 * - while the parameter no_pages is set, the ports' page pools get no pages; page_usecs makes each
 *   page take that many microseconds;
 * - a CPU is delayed between any two instructions of some functions, as happens in a virtual
 *   machine whose host is busy. The parameter functions has their names, and len their lengths. In
 *   each, picks instructions are chosen at random, and all that store a 32-bit word. One time in
 *   one_in, a CPU that gets to one of them waits for usecs microseconds, and sometimes for much
 *   longer.
 *
 * Wrong code may fail late or never, so the module reports at once
 *
 * - when a CPU overwrites what another one has written during such a delay;
 * - when a port sends a cross-CPU call that is already under way.
 */

#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/unaligned.h>
#include <net/page_pool/types.h>

#define FUNCTIONS 8
#define PROBES 512

/* One delay in SELDOM is LONG times as long. */
#define SELDOM 16
#define LONG 100

static bool no_pages;
module_param(no_pages, bool, 0644);

static unsigned int page_usecs;
module_param(page_usecs, uint, 0644);

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

/* The number of instructions at which CPUs are delayed. */
static unsigned int places;
module_param(places, uint, 0444);

static struct kprobe *slow;
static struct kprobe *registered[PROBES];
static unsigned int probes;
static atomic_t hits;

/* Does not touch the register of the return value. */
static notrace noinline void just_return(void)
{
	barrier();
}

static int before_pages(struct kprobe *p, struct pt_regs *regs)
{
	const struct page_pool *pool = (const void *)regs_get_kernel_argument(regs, 0);

	if (!pool->slow.netdev || strncmp(pool->slow.netdev->name, "ox", 2))
		return 0;
	udelay(READ_ONCE(page_usecs));
	if (!READ_ONCE(no_pages))
		return 0;
	/*
	 * Returns NULL at once. The return address stays where it is, on x86 on the stack: where
	 * ftrace makes the probe, a change of regs->sp is lost, and the caller's stack would be 8
	 * bytes off.
	 */
	regs_set_return_value(regs, 0);
	instruction_pointer_set(regs, (unsigned long)just_return);
	return 1;
}

/* With one the kernel does not turn the probe into a jump, which could not go elsewhere. */
static void keep_trap(struct kprobe *p, struct pt_regs *regs, unsigned long flags)
{
}

static struct kprobe pages = {
	.symbol_name = "page_pool_alloc_netmems",
	.pre_handler = before_pages,
	.post_handler = keep_trap,
};

static int lose_time(struct kprobe *p, struct pt_regs *regs)
{
	/* The hash, as the same instruction would else be hit whenever one_in fits. */
	u32 hit = hash_32(atomic_inc_return(&hits), 20);
	u32 often = max(READ_ONCE(one_in), 1u);
	unsigned int times;

	if (hit % often)
		return 0;
	for (times = hit / often % SELDOM ? 1 : LONG; times; times--)
		udelay(READ_ONCE(usecs));
	return 0;
}

#ifdef CONFIG_X86

/* REX: prefixes that a word of 32 bits may have. */
static bool has_prefix(const u8 *code)
{
	return (*code & 0xf8) == 0x40;
}

/*
 * Whether an instruction stores a register or a constant, of 32 bits, where a register points to,
 * or near to it. Excluded are the stack, which nobody else writes to, and what has longer operands.
 */
static bool is_store(const struct kprobe *probe)
{
	const u8 *code = (const u8 *)&probe->ainsn.insn[0];
	u8 operands;

	/* At the beginning of a function ftrace does it, and there is no copy. */
	if (!code)
		return false;
	code += has_prefix(code);
	operands = code[1];
	return (code[0] == 0x89 || code[0] == 0xc7) && operands < 0xc0 &&
		(operands & 7) != 4 && (operands & 7) != 5;
}

/* Where it stores it. */
static const u32 *stored_at(const struct kprobe *probe, struct pt_regs *regs)
{
	static const unsigned int registers[] = {
		offsetof(struct pt_regs, ax), offsetof(struct pt_regs, cx),
		offsetof(struct pt_regs, dx), offsetof(struct pt_regs, bx),
		offsetof(struct pt_regs, sp), offsetof(struct pt_regs, bp),
		offsetof(struct pt_regs, si), offsetof(struct pt_regs, di),
		offsetof(struct pt_regs, r8), offsetof(struct pt_regs, r9),
		offsetof(struct pt_regs, r10), offsetof(struct pt_regs, r11),
		offsetof(struct pt_regs, r12), offsetof(struct pt_regs, r13),
		offsetof(struct pt_regs, r14), offsetof(struct pt_regs, r15),
	};
	const u8 *code = (const u8 *)&probe->ainsn.insn[0];
	unsigned int number = has_prefix(code) ? (*code++ & 1) * 8 : 0;
	unsigned long address = regs_get_register(regs, registers[number + (code[1] & 7)]);

	switch (code[1] >> 6) {
	case 1:
		address += (s8)code[2];
		break;
	case 2:
		address += (s32)get_unaligned_le32(code + 2);
		break;
	}
	return (const u32 *)address;
}

#else /* CONFIG_ARM64 */

/* Where it stores it: a register, and a constant that is added to it. */
struct store {
	unsigned int reg;
	int offset;
};

/*
 * Whether an instruction stores a register of 32 bits: STR with an unsigned or a signed offset, or
 * STLR. Excluded is the stack, which nobody else writes to.
 */
static bool decode(u32 code, struct store *store)
{
	store->reg = code >> 5 & 31;
	if ((code & 0xffc00000) == 0xb9000000)
		store->offset = (code >> 10 & 0xfff) * sizeof(u32);
	else if ((code & 0xffe00c00) == 0xb8000000)
		store->offset = sign_extend32(code >> 12, 8);
	else if ((code & 0xfffffc00) == 0x889ffc00)
		store->offset = 0;
	else
		return false;
	return store->reg != 31;
}

static bool is_store(const struct kprobe *probe)
{
	struct store store;

	return decode(probe->opcode, &store);
}

static const u32 *stored_at(const struct kprobe *probe, struct pt_regs *regs)
{
	struct store store;

	decode(probe->opcode, &store);
	return (const u32 *)(regs->regs[store.reg] + store.offset);
}

#endif

static int check_call(struct kprobe *p, struct pt_regs *regs)
{
	const call_single_data_t *call = (const void *)regs_get_kernel_argument(regs, 1);
	char func[KSYM_SYMBOL_LEN];

	if (!(READ_ONCE(call->node.u_flags) & CSD_FLAG_LOCK))
		return 0;
	/* It is not sent once more, but would be if the other one were only a bit slower. */
	snprintf(func, sizeof(func), "%ps", call->func);
	if (strstr(func, "[oxnic]"))
		pr_err_once("trouble: a cross-CPU call that is under way is sent: %s\n", func);
	return 0;
}

static struct kprobe calls = {
	.symbol_name = "smp_call_function_single_async",
	.pre_handler = check_call,
};

static int lose_time_before_store(struct kprobe *p, struct pt_regs *regs)
{
	const u32 *word = stored_at(p, regs);
	u32 before = READ_ONCE(*word);

	lose_time(p, regs);
	if (READ_ONCE(*word) == before)
		return 0;
	/* The other CPU's list of calls will lead back to itself: nothing can be said later. */
	if (!strcmp(p->symbol_name, calls.symbol_name))
		panic("trouble: two CPUs send the same cross-CPU call at once\n");
	pr_err_once("trouble: %s+%#x overwrites what another CPU has just written\n",
		    p->symbol_name, p->offset);
	return 0;
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
		if (is_store(probe)) {
			probe->pre_handler = lose_time_before_store;
			lose_time_at(probe);
		}
	}
	for (at = 0; at < picks && probes > first; at++)
		lose_time_at(&slow[get_random_u32_inclusive(first, probes - 1)]);
}

static void trouble_exit(void)
{
	/* All at once: each time takes a grace period. */
	unregister_kprobes(registered, probes);
	unregister_kprobe(&pages);
	if (count)
		unregister_kprobe(&calls);
	kfree(slow);
}

static int __init trouble_init(void)
{
	int error, n;

	slow = kcalloc(PROBES, sizeof(*slow), GFP_KERNEL);
	if (!slow)
		return -ENOMEM;
	error = register_kprobe(&pages);
	if (error)
		goto free;
	if (count)
		error = register_kprobe(&calls);
	if (error)
		goto unregister;
	for (n = 0; n < count; n++)
		probe_function(functions[n], len[n]);
	return 0;

unregister:
	unregister_kprobe(&pages);
free:
	kfree(slow);
	return error;
}

module_init(trouble_init);
module_exit(trouble_exit);
MODULE_DESCRIPTION("What happens seldom, on purpose");
MODULE_LICENSE("GPL");
