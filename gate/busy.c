// SPDX-License-Identifier: GPL-2.0
/*
 * BUSY. The ccp driver can only return a firmware error to KVM, which gives it
 * to the guest as the lower half of exit_info_2; BUSY is a VMM code, in the
 * upper half. So hook.c returns an error that no firmware uses, and the
 * tracepoint kvm_vmgexit_exit replaces it: on the same vCPU, before it enters
 * the guest, with its GHCB still mapped.
 */
#include "gate.h"

#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/sched.h>
#include <linux/tracepoint.h>
#include <asm/svm.h>

#define VMM_ERR_BUSY	(2ULL << 32)

/* Exported by kvm, whose header with the declaration is private. */
extern struct tracepoint __tracepoint_kvm_vmgexit_exit;

/*
 * The tasks that got the magic and have not reached the tracepoint since: for
 * them the probe must stay. Stored by address instead of counted: a GHCB proves
 * nothing, as the guest can write there, but a guest cannot choose which task
 * it runs on.
 *
 * A task has at most one slot, among the PROBES ones from its hash. It adds and
 * removes itself; no other task writes a used slot. So there is no lock, and a
 * task needs no ordering to find itself. Unloading does, see busy_unwatch().
 *
 * A task that has exited, or whose vCPU another thread runs now, keeps its
 * slot. The address is never dereferenced; a new task at the same address finds
 * and removes itself.
 */
#define SLOTS_SHIFT	10
#define PROBES		16
static atomic_long_t busy_tasks[1 << SLOTS_SHIFT];

/*
 * Whether a task found no slot, so that unloading does not know it. Never
 * reset.
 */
static bool overflow;

static atomic_long_t *slot(unsigned int probe)
{
	return &busy_tasks[(hash_ptr(current, SLOTS_SHIFT) + probe) % ARRAY_SIZE(busy_tasks)];
}

/* This task's slot, or NULL. Relaxed: only this task writes its own address. */
static atomic_long_t *find_current(void)
{
	unsigned int i;

	for (i = 0; i < PROBES; i++) {
		if (atomic_long_read(slot(i)) == (long)current)
			return slot(i);
	}
	return NULL;
}

/*
 * Called before the magic is returned. Relaxed: hook.c later counts this task
 * out with a release, which hook_remove() acquires before busy_unwatch().
 */
void busy_expect(void)
{
	unsigned int i;

	if (find_current())
		return;		/* the last time it did not get as far as the probe */
	for (i = 0; i < PROBES; i++) {
		/* failed: another task was faster or uses the slot */
		if (!atomic_long_cmpxchg_relaxed(slot(i), 0, (long)current))
			return;
	}
	WRITE_ONCE(overflow, true);
}

/*
 * Runs at every VMGEXIT of every SEV-ES guest, with preemption disabled. The
 * page is shared with the guest: if it writes the magic itself, it reads BUSY;
 * if it hides it, it reads what it wrote. Neither affects which other tasks
 * unloading waits for; for this one it may wait until its timeout.
 *
 * Relaxed: a task that is no longer in the table may still run this function,
 * for which tracepoint_synchronize_unregister() waits.
 */
static void on_vmgexit_exit(void *unused, unsigned int vcpu_id, struct ghcb *ghcb)
{
	u64 code = READ_ONCE(ghcb->save.sw_exit_code);
	atomic_long_t *mine;

	if (code != SVM_VMGEXIT_GUEST_REQUEST && code != SVM_VMGEXIT_EXT_GUEST_REQUEST)
		return;
	if (READ_ONCE(ghcb->save.sw_exit_info_2) == GATE_BUSY_MAGIC)
		WRITE_ONCE(ghcb->save.sw_exit_info_2, VMM_ERR_BUSY);
	mine = find_current();
	if (mine)
		atomic_long_set(mine, 0);
}

int busy_watch(void)
{
	int ret = tracepoint_probe_register(&__tracepoint_kvm_vmgexit_exit,
					    on_vmgexit_exit, NULL);

	if (ret)
		pr_err("cannot watch kvm_vmgexit_exit: %d\n", ret);
	return ret;
}

/* How many have not reached the probe. */
static unsigned int count_busy(void)
{
	unsigned int i, count = 0;

	for (i = 0; i < ARRAY_SIZE(busy_tasks); i++)
		count += !!atomic_long_read(&busy_tasks[i]);
	return count;
}

/*
 * After hook_remove(), so none are added and all added ones are visible. A vCPU
 * takes microseconds to reach the probe, unless its VMM has paused or killed it
 * there. So this waits for a while, then warns.
 */
void busy_unwatch(void)
{
	unsigned long until = jiffies + 2 * HZ;

	while ((count_busy() || READ_ONCE(overflow)) && time_before(jiffies, until))
		msleep(20);
	if (count_busy())
		pr_info("%u vCPUs got BUSY and have not run since: exited or paused\n",
			count_busy());
	if (READ_ONCE(overflow))
		pr_info("too many vCPUs got BUSY to know whether all have run since\n");
	tracepoint_probe_unregister(&__tracepoint_kvm_vmgexit_exit, on_vmgexit_exit, NULL);
	tracepoint_synchronize_unregister();	/* waits for who is in on_vmgexit_exit() */
}
