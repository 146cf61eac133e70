// SPDX-License-Identifier: GPL-2.0
/*
 * BUSY. The ccp driver can only hand a firmware error to KVM, which gives it to
 * the guest as the lower half of exit_info_2; BUSY is a code of the VMM's, in the
 * upper half. So hook.c reports an error that no firmware has, and it is replaced
 * at the tracepoint kvm_vmgexit_exit: the same vCPU, before it enters the guest,
 * with its GHCB still mapped.
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
 * The tasks that were told the magic and have not been at the tracepoint since: for
 * them the probe has to stay. Known by their addresses, not counted: what the probe
 * sees in a GHCB proves nothing, as the guest can write there, but a guest cannot
 * choose which task it runs on.
 *
 * A task is in one place at most, among the PROBES ones that follow its hash. It
 * puts itself there and takes itself out; nobody else writes a place that is taken.
 * So there is no lock, and a task that looks for itself needs no ordering. Towards
 * unloading there is, see busy_unwatch().
 *
 * One that is gone, or whose vCPU another thread runs now, stays in. It is never
 * followed, so it may be gone; a new task at the same address finds itself in here
 * and takes itself out.
 */
#define PLACES_SHIFT	10
#define PROBES		16
static atomic_long_t told[1 << PLACES_SHIFT];

/* Whether a task found no place: then it is not known whom to wait for. Never reset. */
static bool crowded;

static atomic_long_t *place(unsigned int probe)
{
	return &told[(hash_ptr(current, PLACES_SHIFT) + probe) % ARRAY_SIZE(told)];
}

/* Where this task is, or NULL. Relaxed: only this task writes its own address. */
static atomic_long_t *find_current(void)
{
	unsigned int i;

	for (i = 0; i < PROBES; i++) {
		if (atomic_long_read(place(i)) == (long)current)
			return place(i);
	}
	return NULL;
}

/*
 * Before the magic is told. Relaxed: hook.c counts this task out afterwards with a
 * release, which hook_remove() acquires before busy_unwatch() looks here.
 */
void busy_expect(void)
{
	unsigned int i;

	if (find_current())
		return;		/* the last time it did not get as far as the probe */
	for (i = 0; i < PROBES; i++) {
		/* a failure means that another task was quicker, or is in there */
		if (!atomic_long_cmpxchg_relaxed(place(i), 0, (long)current))
			return;
	}
	WRITE_ONCE(crowded, true);
}

/*
 * Runs at every VMGEXIT of every SEV-ES guest, with preemption disabled. The page
 * is shared with the guest: one that writes the magic there itself reads BUSY, and
 * one that hides it reads what it wrote. Neither changes whom unloading waits for
 * but this very task: if it makes its exit look like another, it is waited for in
 * vain.
 *
 * Relaxed: whoever sees this task gone from the table may still find it in here, and
 * waits for that in tracepoint_synchronize_unregister().
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

/* How many have not been at the probe. */
static unsigned int count_told(void)
{
	unsigned int i, count = 0;

	for (i = 0; i < ARRAY_SIZE(told); i++)
		count += !!atomic_long_read(&told[i]);
	return count;
}

/*
 * After hook_remove(), so none are added, and all that were are seen. A vCPU needs
 * microseconds from the one to the other, unless its VMM has paused it there; and
 * one that was killed there stays in. So this waits for a while, and then says so.
 */
void busy_unwatch(void)
{
	unsigned long until = jiffies + 2 * HZ;

	while ((count_told() || READ_ONCE(crowded)) && time_before(jiffies, until))
		msleep(20);
	if (count_told())
		pr_info("%u vCPUs were told to try again and have not run since: gone or paused\n",
			count_told());
	if (READ_ONCE(crowded))
		pr_info("too many vCPUs were told to try again to know whether all have run since\n");
	tracepoint_probe_unregister(&__tracepoint_kvm_vmgexit_exit, on_vmgexit_exit, NULL);
	tracepoint_synchronize_unregister();	/* waits for who is in on_vmgexit_exit() */
}
