// SPDX-License-Identifier: GPL-2.0
/*
 * The order's parameters, see params.c, and /proc/guestreq_gate: who waits, which
 * may be more than fits into a parameter.
 */
#include "gate.h"

#include <linux/capability.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/sysfs.h>

static int number_set(const char *val, const struct kernel_param *kp, unsigned int most,
		      void (*set)(unsigned int number))
{
	unsigned int number;
	int ret = param_may_set(kp) ?: kstrtouint(val, 0, &number);

	if (ret)
		return ret;
	if (number > most)
		return -EINVAL;
	set(number);
	return 0;
}

static int depth_set(const char *val, const struct kernel_param *kp)
{
	return number_set(val, kp, ORDER_FLOWS, order_set_depth);
}

static int depth_get(char *buf, const struct kernel_param *kp)
{
	struct order_stats stats;

	order_read(&stats);
	return sysfs_emit(buf, "%u\n", stats.depth);
}

static const struct kernel_param_ops depth_ops = { .set = depth_set, .get = depth_get };
module_param_cb(depth, &depth_ops, NULL, 0644);
__MODULE_PARM_TYPE(depth, "uint");
MODULE_PARM_DESC(depth, "guest requests at ccp at a time, the others wait in order; 0: no order (default 1)");

static int launch_share_set(const char *val, const struct kernel_param *kp)
{
	return number_set(val, kp, 100, order_set_launch_share);
}

static int launch_share_get(char *buf, const struct kernel_param *kp)
{
	struct order_stats stats;

	order_read(&stats);
	return sysfs_emit(buf, "%u\n", stats.launch_share);
}

static const struct kernel_param_ops launch_share_ops = {
	.set = launch_share_set,
	.get = launch_share_get,
};
module_param_cb(launch_share, &launch_share_ops, NULL, 0644);
__MODULE_PARM_TYPE(launch_share, "uint");
MODULE_PARM_DESC(launch_share, "percent of the PSP's time for which launches may hold requests (default 75)");

/* One file, so that the numbers are of one moment. */
static int order_get(char *buf, const struct kernel_param *kp)
{
	struct order_stats stats;

	order_read(&stats);
	return sysfs_emit(buf,
			  "waiting %u\nin_flight %u\ngrants %llu\noverdue %llu\nkilled %llu\n"
			  "wait_ns %llu\nheld_ns %llu\nlaunch_ns %llu\nrequest_ns %llu\n",
			  stats.waiting, stats.in_flight, stats.grants, stats.overdue,
			  stats.killed, stats.wait_ns, stats.held_ns, stats.launch_ns,
			  stats.request_ns);
}

static const struct kernel_param_ops order_ops = { .set = param_no_set, .get = order_get };
module_param_cb(order, &order_ops, NULL, 0400);
MODULE_PARM_DESC(order, "who waits and has waited (read only)");

/* If more come before the list is made, it lacks the last ones. */
static int list_show(struct seq_file *m, void *unused)
{
	struct pid_namespace *ns = proc_pid_ns(file_inode(m->file)->i_sb);
	struct order_waiter *waiters;
	struct order_stats stats;
	unsigned int i, count;

	/* A guest context is a physical address; so the capability is as for "file". */
	if (!file_ns_capable(m->file, &init_user_ns, CAP_SYSLOG))
		return -EPERM;
	order_read(&stats);
	if (!stats.waiting)
		return 0;
	waiters = kvcalloc(stats.waiting, sizeof(*waiters), GFP_KERNEL);
	if (!waiters)
		return -ENOMEM;
	count = min(order_list(waiters, stats.waiting, ns), stats.waiting);
	for (i = 0; i < count; i++)
		seq_printf(m, "0x%llx %d %u %lld %llu\n", waiters[i].gctx, waiters[i].tgid,
			   waiters[i].weight, waiters[i].start, waiters[i].waited);
	kvfree(waiters);
	return 0;
}

int order_list_create(void)
{
	return proc_create_single(KBUILD_MODNAME, 0400, NULL, list_show) ? 0 : -ENOMEM;
}

/* Waits for readers. */
void order_list_remove(void)
{
	remove_proc_entry(KBUILD_MODNAME, NULL);
}
