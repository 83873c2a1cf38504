// SPDX-License-Identifier: GPL-2.0
/*
 * Makes a call of one kernel function fail, when the driver under test makes it.
 *
 * The kernel of the guest is the distribution's, which has no fault injection. So a kprobe at the
 * entry of the function replaces the call by a return of the wanted value. Only calls with the
 * driver among their nearest callers count, and the module has to be loaded before the driver.
 *
 *   echo "FUNCTION VALUE NTH DEPTH [MICROSECONDS]" >/sys/module/failcall/parameters/arm
 *
 * makes the NTH call with the driver among its nearest DEPTH callers return VALUE, -1 every call;
 * 0 only counts. With MICROSECONDS it does not fail, but begins so much later, which holds the door
 * open for a race. "off" disarms. The parameters "calls" and "fired" say how many calls have counted since
 * then, and how many have failed; "caller" is where in the driver the last of these came from.
 * "channel_state" is the error state of the emulated NIC. "reserve" makes the pages that page pools
 * hand out, after so many, look as if they came from the kernel's emergency reserve; -1 ends that.
 * "lockdep" takes "off": the kernel keeps no books of locks any more, until it is booted again. So does
 * "stacks": KASAN notes no longer who allocated and freed each object, a sixth to a quarter of a
 * guest's time. It finds as much as before, but its reports name only who made the bad access.
 */

#include <linux/debug_locks.h>
#include <linux/delay.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/stacktrace.h>
#include <asm/text-patching.h>
#include <asm/unwind.h>

#define DRIVER "fbnic"

static DEFINE_MUTEX(arm_lock);
static char function[KSYM_NAME_LEN];
static struct kprobe probe;
static bool armed, reallocates;
static long value;
static int nth;
static unsigned int depth, delay_us;
static atomic_t calls, fired;
static unsigned long last_caller;

/* Where the driver's code is; an empty range while it is not loaded. */
static unsigned long text_start, text_end;

/* The body of a function whose call fails: the return value is set already. */
static noinline notrace void return_at_once(void)
{
}

/* The address in the driver that the call comes from, 0 if it does not. */
static unsigned long driver_caller(struct pt_regs *regs)
{
	unsigned long start = READ_ONCE(text_start), end = READ_ONCE(text_end);
	struct unwind_state state;
	unsigned long address;
	unsigned int i;

	/* A kernel that unwinds by frame pointers does not see who called a function that has none yet. */
	address = regs_get_kernel_stack_nth(regs, 0);
	if (depth && address >= start && address < end)
		return address;

	/* The first frame is the function itself. */
	unwind_start(&state, current, regs, NULL);
	for (i = 0; i <= depth && !unwind_done(&state); i++) {
		address = unwind_get_return_address(&state);
		if (address >= start && address < end)
			return address;
		unwind_next_frame(&state);
	}
	return 0;
}

static int at_entry(struct kprobe *p, struct pt_regs *regs)
{
	unsigned long caller;
	int call;

	/* A reallocation to no size frees, which is how Rust does it, and that cannot fail. */
	if (reallocates && !regs_get_kernel_argument(regs, 1))
		return 0;
	caller = driver_caller(regs);
	if (!caller)
		return 0;
	call = atomic_inc_return(&calls);
	if (nth >= 0 && call != nth)
		return 0;

	atomic_inc(&fired);
	WRITE_ONCE(last_caller, caller);
	if (delay_us) {
		mdelay(delay_us / USEC_PER_MSEC);
		udelay(delay_us % USEC_PER_MSEC);
		return 0;
	}
	regs_set_return_value(regs, value);
	instruction_pointer_set(regs, (unsigned long)return_at_once);
	return 1;
}
NOKPROBE_SYMBOL(at_entry);

/* A kprobe with a second handler is not turned into a jump, which could not change the path. */
static void after_entry(struct kprobe *p, struct pt_regs *regs, unsigned long flags)
{
}

static void disarm(void)
{
	if (armed)
		unregister_kprobe(&probe);
	armed = false;
}

static int arm(const char *text)
{
	int err;

	delay_us = 0;
	if (sscanf(text, "%127s %ld %d %u %u", function, &value, &nth, &depth, &delay_us) < 4)
		return -EINVAL;
	if (delay_us > USEC_PER_SEC)
		return -EINVAL;

	reallocates = strstr(function, "realloc");
	atomic_set(&calls, 0);
	atomic_set(&fired, 0);
	probe = (struct kprobe) {
		.symbol_name = function,
		.pre_handler = at_entry,
		.post_handler = after_entry,
	};
	err = register_kprobe(&probe);
	armed = !err;
	return err;
}

static int arm_set(const char *text, const struct kernel_param *kp)
{
	guard(mutex)(&arm_lock);
	disarm();
	return sysfs_streq(text, "off") ? 0 : arm(text);
}

static const struct kernel_param_ops arm_ops = { .set = arm_set };
module_param_cb(arm, &arm_ops, NULL, 0200);
MODULE_PARM_DESC(arm, "FUNCTION VALUE NTH DEPTH [MICROSECONDS], or off");

static int count_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(kp->arg));
}

static const struct kernel_param_ops count_ops = { .get = count_get };
module_param_cb(calls, &count_ops, &calls, 0400);
MODULE_PARM_DESC(calls, "calls that have counted");
module_param_cb(fired, &count_ops, &fired, 0400);
MODULE_PARM_DESC(fired, "calls that have failed");

static int caller_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%pS\n", (void *)READ_ONCE(last_caller));
}

static const struct kernel_param_ops caller_ops = { .get = caller_get };
module_param_cb(caller, &caller_ops, NULL, 0400);
MODULE_PARM_DESC(caller, "where the last call that has failed came from");

static int channel_state_set(const char *text, const struct kernel_param *kp)
{
	struct pci_dev *pdev;
	unsigned int state;
	int err;

	err = kstrtouint(text, 0, &state);
	if (err)
		return err;
	pdev = pci_get_device(PCI_VENDOR_ID_META, 0x0013, NULL);
	if (!pdev)
		return -ENODEV;
	pdev->error_state = (__force pci_channel_state_t)state;
	pci_dev_put(pdev);
	return 0;
}

static const struct kernel_param_ops channel_state_ops = { .set = channel_state_set };
module_param_cb(channel_state, &channel_state_ops, NULL, 0200);
MODULE_PARM_DESC(channel_state, "the NIC's error state: 1 normal, 2 frozen, 3 gone");

/* How many pages are left alone, and how many have been marked since. */
static atomic_t unmarked, marked;
static bool marking;

static int at_page(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct page *page = (struct page *)regs_return_value(regs);

	/* That is the bit page_is_pfmemalloc() looks at; the pool keeps its own signature around it. */
	if (page && atomic_dec_if_positive(&unmarked) < 0) {
		page->lru.next = (void *)((unsigned long)page->lru.next | BIT(1));
		atomic_inc(&marked);
	}
	return 0;
}

static struct kretprobe page_probe;

static int reserve_set(const char *text, const struct kernel_param *kp)
{
	int left, err;

	err = kstrtoint(text, 0, &left);
	if (err)
		return err;

	guard(mutex)(&arm_lock);
	if (marking)
		unregister_kretprobe(&page_probe);
	marking = false;
	if (left < 0)
		return 0;

	atomic_set(&unmarked, left);
	atomic_set(&marked, 0);
	page_probe = (struct kretprobe) {
		.kp.symbol_name = "page_pool_alloc_netmems",
		.handler = at_page,
	};
	err = register_kretprobe(&page_probe);
	marking = !err;
	return err;
}

static const struct kernel_param_ops reserve_ops = { .set = reserve_set };
module_param_cb(reserve, &reserve_ops, NULL, 0200);
MODULE_PARM_DESC(reserve, "mark pages of page pools after so many as of the reserve, or -1");
module_param_cb(marked, &count_ops, &marked, 0400);
MODULE_PARM_DESC(marked, "pages that have been marked");

static int lockdep_set(const char *text, const struct kernel_param *kp)
{
	if (!sysfs_streq(text, "off"))
		return -EINVAL;
	debug_locks_off();
	return 0;
}

static const struct kernel_param_ops lockdep_ops = { .set = lockdep_set };
module_param_cb(lockdep, &lockdep_ops, NULL, 0200);
MODULE_PARM_DESC(lockdep, "off");

#ifdef CONFIG_KASAN
/* In place of stack_trace_save(). */
static unsigned int no_stack(unsigned long *store, unsigned int size, unsigned int skipnr)
{
	return 0;
}

/* The kernel tells modules only where it puts its kprobes. */
static unsigned long address_of(const char *symbol)
{
	struct kprobe lookup = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long (*lookup_name)(const char *name);

	if (register_kprobe(&lookup))
		return 0;
	lookup_name = (void *)lookup.addr;
	unregister_kprobe(&lookup);
	return lookup_name(symbol);
}

static int stacks_set(const char *text, const struct kernel_param *kp)
{
	void (*poke)(void *addr, const void *opcode, size_t len, const void *emulate);
	struct mutex *lock;

	if (!sysfs_streq(text, "off"))
		return -EINVAL;
	poke = (void *)address_of("smp_text_poke_single");
	lock = (void *)address_of("text_mutex");
	if (!poke || !lock)
		return -ENOENT;

	/* A kprobe would cost a trap at each call, so the function begins with a jump. */
	mutex_lock(lock);
	poke(stack_trace_save, text_gen_insn(JMP32_INSN_OPCODE, stack_trace_save, no_stack), JMP32_INSN_SIZE, NULL);
	mutex_unlock(lock);
	/* The jump stays, and with it its target. */
	__module_get(THIS_MODULE);
	return 0;
}

static const struct kernel_param_ops stacks_ops = { .set = stacks_set };
module_param_cb(stacks, &stacks_ops, NULL, 0200);
MODULE_PARM_DESC(stacks, "off");
#endif

static int driver_comes_or_goes(struct notifier_block *nb, unsigned long action, void *data)
{
	struct module *module = data;
	const struct module_memory *text = &module->mem[MOD_TEXT];

	if (strcmp(module->name, DRIVER))
		return NOTIFY_DONE;

	if (action == MODULE_STATE_COMING) {
		WRITE_ONCE(text_start, (unsigned long)text->base);
		WRITE_ONCE(text_end, (unsigned long)text->base + text->size);
	} else if (action == MODULE_STATE_GOING) {
		WRITE_ONCE(text_end, 0);
	}
	return NOTIFY_OK;
}

static struct notifier_block notifier = { .notifier_call = driver_comes_or_goes };

static int __init failcall_init(void)
{
	return register_module_notifier(&notifier);
}
module_init(failcall_init);

static void __exit failcall_exit(void)
{
	unregister_module_notifier(&notifier);
	disarm();
	if (marking)
		unregister_kretprobe(&page_probe);
}
module_exit(failcall_exit);

MODULE_DESCRIPTION("Makes calls of the fbnic driver fail");
MODULE_LICENSE("GPL");
