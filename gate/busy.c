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
#include <linux/jiffies.h>
#include <linux/tracepoint.h>
#include <asm/svm.h>

#define VMM_ERR_BUSY	(2ULL << 32)

/* Exported by kvm, whose header with the declaration is private. */
extern struct tracepoint __tracepoint_kvm_vmgexit_exit;

/* How many were told the magic and have not been told BUSY yet. */
static atomic_t waiting = ATOMIC_INIT(0);

void busy_expect(void)
{
	atomic_inc(&waiting);
}

/*
 * Runs at every VMGEXIT of every SEV-ES guest, with preemption disabled. The page
 * is shared with the guest: one that writes the magic there itself reads BUSY and
 * has fooled nobody else.
 */
static void on_vmgexit_exit(void *unused, unsigned int vcpu_id, struct ghcb *ghcb)
{
	u64 code = READ_ONCE(ghcb->save.sw_exit_code);

	if (code != SVM_VMGEXIT_GUEST_REQUEST && code != SVM_VMGEXIT_EXT_GUEST_REQUEST)
		return;
	if (READ_ONCE(ghcb->save.sw_exit_info_2) != GATE_BUSY_MAGIC)
		return;
	WRITE_ONCE(ghcb->save.sw_exit_info_2, VMM_ERR_BUSY);
	atomic_dec_if_positive(&waiting);
}

int busy_watch(void)
{
	int ret = tracepoint_probe_register(&__tracepoint_kvm_vmgexit_exit,
					    on_vmgexit_exit, NULL);

	if (ret)
		pr_err("cannot watch kvm_vmgexit_exit: %d\n", ret);
	return ret;
}

/*
 * After hook_remove(), so none are added. A vCPU needs microseconds from the one
 * to the other, unless its VMM has paused it there; and one that was killed there
 * stays counted. So this waits for a while, and then says so.
 */
void busy_unwatch(void)
{
	unsigned long until = jiffies + 2 * HZ;

	while (atomic_read(&waiting) && time_before(jiffies, until))
		msleep(20);
	if (atomic_read(&waiting))
		pr_info("%d vCPUs were told to try again and have not run since: gone or paused\n",
			atomic_read(&waiting));
	tracepoint_probe_unregister(&__tracepoint_kvm_vmgexit_exit, on_vmgexit_exit, NULL);
	tracepoint_synchronize_unregister();	/* waits for who is in on_vmgexit_exit() */
}
