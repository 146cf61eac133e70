// SPDX-License-Identifier: GPL-2.0
/*
 * BUSY is a VMM error in the upper half of exit_info_2, but ccp can only return
 * a firmware error, which KVM puts into the lower half. So hook.c returns an
 * error that no firmware uses, and the tracepoint kvm_vmgexit_exit replaces it:
 * on the same vCPU, before it enters the guest, with the GHCB still mapped.
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

/* Exported by kvm, but declared in a private header. */
extern struct tracepoint __tracepoint_kvm_vmgexit_exit;

/*
 * Tasks that got the magic and have not reached the tracepoint since: the probe
 * must stay for them. A set of task addresses instead of a counter, because a guest
 * can forge the magic in its GHCB but cannot choose the task that runs it.
 *
 * A task occupies at most one of the PROBES slots that follow its hash. Only the
 * task itself adds and removes its address, so lookups need neither lock nor
 * ordering. For ordering against unload see busy_unwatch().
 *
 * The address of an exited task, or of one whose vCPU moved to another thread, stays
 * in the set. It is never dereferenced; a new task at that address removes it.
 */
#define SLOTS_SHIFT	10
#define PROBES		16
static atomic_long_t busy_tasks[1 << SLOTS_SHIFT];

/* A task found no slot, so unloading cannot know which to wait for. Never reset. */
static bool overflow;

static atomic_long_t *slot(unsigned int probe)
{
	return &busy_tasks[(hash_ptr(current, SLOTS_SHIFT) + probe) % ARRAY_SIZE(busy_tasks)];
}

/* This task's slot, or NULL. Relaxed: only this task writes its address. */
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
 * Called before the magic is returned. Relaxed: hook.c decrements callers afterwards
 * with a release, which hook_remove() acquires before busy_unwatch() reads this.
 */
void busy_expect(void)
{
	unsigned int i;

	if (find_current())
		return;		/* did not reach the probe last time */
	for (i = 0; i < PROBES; i++) {
		/* fails if the slot is taken */
		if (!atomic_long_cmpxchg_relaxed(slot(i), 0, (long)current))
			return;
	}
	WRITE_ONCE(overflow, true);
}

/*
 * Runs at every VMGEXIT of every SEV-ES guest, with preemption disabled. The guest
 * shares the page: if it writes the magic it reads BUSY, if it overwrites the magic
 * it reads its own value. If it forges another exit code, only this task stays in
 * the set, and unloading waits for it in vain.
 *
 * Relaxed: after this task left the set it may still run here;
 * tracepoint_synchronize_unregister() waits for that.
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

/* Tasks that have not reached the probe. */
static unsigned int count_busy(void)
{
	unsigned int i, count = 0;

	for (i = 0; i < ARRAY_SIZE(busy_tasks); i++)
		count += !!atomic_long_read(&busy_tasks[i]);
	return count;
}

/*
 * Called after hook_remove(), so the set is complete and only shrinks. A vCPU reaches
 * the probe within microseconds, unless its VMM paused it or it was killed on the
 * way. So wait for a while, then log the rest.
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
	tracepoint_synchronize_unregister();	/* waits for running on_vmgexit_exit() */
}
