// SPDX-License-Identifier: GPL-2.0
/*
 * A stuck driver: holds a process's mmap_lock while the parameter hold_memory
 * is set and the caller gets no signal. Reading /proc/PID/cmdline blocks
 * meanwhile.
 */
#include "snpsim.h"

#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mmap_lock.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#define POLL_MS	20

static bool hold_memory;
module_param(hold_memory, bool, 0644);
MODULE_PARM_DESC(hold_memory, "SNPSIM_HOLD_MEMORY returns when this is cleared");

static struct mm_struct *memory_of(pid_t nr)
{
	struct task_struct *task;
	struct mm_struct *mm;

	rcu_read_lock();
	task = pid_task(find_vpid(nr), PIDTYPE_PID);
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	if (!task)
		return NULL;
	mm = get_task_mm(task);
	put_task_struct(task);
	return mm;
}

long hold_memory_of(pid_t nr)
{
	struct mm_struct *mm = memory_of(nr);

	if (!mm)
		return -ESRCH;
	if (mm == current->mm) {
		mmput(mm);
		return -EINVAL;
	}
	mmap_write_lock(mm);
	while (READ_ONCE(hold_memory) && !signal_pending(current))
		schedule_timeout_interruptible(msecs_to_jiffies(POLL_MS));
	mmap_write_unlock(mm);
	mmput(mm);
	return 0;
}
