// SPDX-License-Identifier: GPL-2.0
/*
 * The order in which admitted requests go to ccp. Behind ccp's mutex a request
 * waits for all that came before it, and each command of a launch for a request
 * of every VM that asks. So at most depth requests have a slot, which lets them
 * to that mutex, and the others wait here. order_queue.c says who is next,
 * launch_hold.c whether a free slot has to wait for a launch.
 *
 * Nobody is refused for having waited: after WAIT_TIMEOUT a request goes to ccp's
 * mutex as without the gate. So should a slot ever be lost, or the PSP hang, all
 * is as it was without an order, later.
 */
#include "order.h"

#include <linux/hrtimer.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/limits.h>
#include <linux/pid.h>
#include <linux/spinlock.h>
#include <linux/version.h>

#define WAIT_TIMEOUT	(10 * HZ)

/*
 * Protects all of the following, and each request in the queue. Taken by tasks, which
 * may sleep before and after, and by the timer in softirq context, so tasks disable
 * that. Held for one walk over the waiting VMs at most. The innermost of the gate's
 * locks: only complete() and hrtimer_start() are called with it, which take locks of
 * the scheduler and of timers. The timer's function runs without those.
 */
static DEFINE_SPINLOCK(order_lock);
static struct order_queue queue = { .waiting = LIST_HEAD_INIT(queue.waiting) };
static struct launch_hold hold = { .share = 75 };
static unsigned int depth = 1;		/* 0: no order, everybody goes at once */
static unsigned int in_flight;		/* have a slot; more than depth if overdue */
static u64 grants, overdue, killed, wait_ns;
static struct hrtimer hold_timer;	/* runs while a free slot waits for a launch */

static void take_slot(struct order_request *request, u64 now)
{
	order_queue_take(&queue, request);
	/* without an order it would be charged for ccp's queue, and owe that later */
	request->since = depth ? now : 0;
	in_flight++;
	grants++;
	launch_hold_request_enter(&hold, now);
}

/*
 * To be called after every change of slots, queue, launches or parameters, with the
 * lock: then no slot is free while somebody waits, except for a launch, and then
 * the timer runs.
 */
static void grant(u64 now)
{
	struct order_request *request;

	while ((request = order_queue_first(&queue)) && (!depth || in_flight < depth)) {
		u64 until = depth ? launch_hold_until(&hold, now) : 0;

		if (until) {
			launch_hold_set(&hold, true, now);
			if (until != U64_MAX)
				hrtimer_start(&hold_timer, ns_to_ktime(until),
					      HRTIMER_MODE_ABS_SOFT);
			return;
		}
		take_slot(request, now);
		complete(&request->granted);	/* the last touch: it is on its task's stack */
	}
	launch_hold_set(&hold, false, now);
}

static enum hrtimer_restart hold_ended(struct hrtimer *timer)
{
	spin_lock(&order_lock);		/* softirq context */
	grant(ktime_get_ns());
	spin_unlock(&order_lock);
	return HRTIMER_NORESTART;
}

/*
 * Returns 0 with a slot, which order_leave() gives back, or -EINTR without one if
 * the task is being killed. Other signals do not end the wait, as they do not end
 * the one for ccp's mutex: the guest would have to be answered BUSY, and would
 * sleep for two seconds, each time its VMM kicks the vCPU.
 */
int order_enter(struct order_request *request, u64 gctx, unsigned int weight)
{
	long left;
	int ret = 0;
	u64 now;

	init_completion(&request->granted);
	request->gctx = gctx;
	request->weight = weight;
	request->task = current;

	spin_lock_bh(&order_lock);
	now = ktime_get_ns();		/* with the lock, so that time never goes back */
	request->came = now;
	order_queue_add(&queue, request, now);
	grant(now);
	if (list_empty(&request->node)) {
		spin_unlock_bh(&order_lock);
		return 0;
	}
	spin_unlock_bh(&order_lock);

	left = wait_for_completion_killable_timeout(&request->granted, WAIT_TIMEOUT);

	/* A slot may still have come after the wait ended: the queue tells. */
	spin_lock_bh(&order_lock);
	now = ktime_get_ns();
	wait_ns += now - request->came;
	if (left < 0) {
		if (list_empty(&request->node)) {	/* given, but not used */
			launch_hold_request_leave(&hold, now);
			in_flight--;
			grants--;
		} else {
			order_queue_remove(&queue, request);
		}
		killed++;
		ret = -EINTR;
	} else if (!list_empty(&request->node)) {
		take_slot(request, now);		/* one more than there are */
		overdue++;
	}
	grant(now);
	spin_unlock_bh(&order_lock);
	return ret;
}

void order_leave(struct order_request *request)
{
	u64 now;

	/* In one step, so that the VM's next request finds this one charged. */
	spin_lock_bh(&order_lock);
	now = ktime_get_ns();
	if (request->since)
		order_queue_charge(&queue, request, now);
	launch_hold_request_leave(&hold, now);
	in_flight--;
	grant(now);
	spin_unlock_bh(&order_lock);
}

/* A launch's command goes to ccp, and is back. */
void order_launch_enter(u64 gctx)
{
	u64 now;

	spin_lock_bh(&order_lock);	/* may prolong a hold, so the timer is set again */
	now = ktime_get_ns();
	launch_hold_enter(&hold, gctx, now);
	grant(now);
	spin_unlock_bh(&order_lock);
}

void order_launch_leave(u64 gctx, bool is_over)
{
	u64 now;

	spin_lock_bh(&order_lock);	/* the next command is awaited from now, or none */
	now = ktime_get_ns();
	launch_hold_leave(&hold, gctx, is_over, now);
	grant(now);
	spin_unlock_bh(&order_lock);
}

void order_set_depth(unsigned int new)
{
	spin_lock_bh(&order_lock);	/* with more slots somebody may have one */
	depth = new;
	grant(ktime_get_ns());
	spin_unlock_bh(&order_lock);
}

void order_set_launch_share(unsigned int percent)
{
	spin_lock_bh(&order_lock);	/* a hold may end, or begin */
	hold.share = percent;
	grant(ktime_get_ns());
	spin_unlock_bh(&order_lock);
}

void order_read(struct order_stats *stats)
{
	u64 now;

	spin_lock_bh(&order_lock);	/* for values of one moment */
	now = ktime_get_ns();
	*stats = (struct order_stats){
		.depth = depth,
		.launch_share = hold.share,
		.waiting = queue.nr_waiting,
		.in_flight = in_flight,
		.grants = grants,
		.overdue = overdue,
		.killed = killed,
		.wait_ns = wait_ns,
		.held_ns = hold.held_ns + (hold.held_since ? now - hold.held_since : 0),
		.launch_ns = hold.launch_ns,
		.request_ns = hold.request_ns,
	};
	spin_unlock_bh(&order_lock);
}

/* Those that wait, the next one first. Returns how many there are, even beyond max. */
unsigned int order_list(struct order_waiter *waiters, unsigned int max,
			struct pid_namespace *ns)
{
	const struct order_request *request;
	unsigned int count = 0;
	u64 now;

	spin_lock_bh(&order_lock);	/* keeps the requests, and so their tasks */
	now = ktime_get_ns();
	list_for_each_entry(request, &queue.waiting, node) {
		if (count == max)
			break;
		waiters[count++] = (struct order_waiter){
			.gctx = request->gctx,
			.tgid = task_tgid_nr_ns(request->task, ns),
			.weight = request->weight,
			.start = request->start - queue.virtual_now,
			.waited = now - request->came,
		};
	}
	count = queue.nr_waiting;
	spin_unlock_bh(&order_lock);
	return count;
}

void order_init(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(&hold_timer, hold_ended, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_SOFT);
#else
	hrtimer_init(&hold_timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_SOFT);
	hold_timer.function = hold_ended;
#endif
}

/* The hook is gone: nobody needs to wait for others that are here, too. */
void order_open(void)
{
	order_set_depth(0);
}

/* Everybody has left. The timer may still run for a hold that has ended. */
void order_fini(void)
{
	hrtimer_cancel(&hold_timer);
}
