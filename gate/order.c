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

#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/minmax.h>
#include <linux/time64.h>
#include <linux/version.h>

#define WAIT_TIMEOUT	(10 * HZ)

/*
 * How often the timer looks whether a hold has ended. Setting it at each command of
 * a launch instead would be exact, but cost two settings for each page. What a hold
 * lasts longer counts as used by launches.
 */
#define HOLD_TICK_NS	(2 * NSEC_PER_MSEC)

struct order_state order = {
	.lock = __SPIN_LOCK_UNLOCKED(order.lock),
	.queue = { .waiting = LIST_HEAD_INIT(order.queue.waiting) },
	.hold = { .share = 75 },
	.depth = 1,
};

static void take_slot(struct order_request *request, u64 now)
{
	order_queue_take(&order.queue, request);
	/* without an order it would be charged for ccp's queue, and owe that later */
	request->since = order.depth ? now : 0;
	order.in_flight++;
	order.grants++;
	launch_hold_request_enter(&order.hold, now);
}

static void set_timer(u64 at)
{
	if (order.timer_set)
		return;
	order.timer_set = true;
	hrtimer_start(&order.timer, ns_to_ktime(at), HRTIMER_MODE_ABS_SOFT);
}

static bool has_free_slot(void)
{
	return !order.depth ||
	       order.in_flight < order.depth + launch_hold_owed(&order.hold);
}

/*
 * To be called after every change of slots, queue, launches or parameters, with the
 * lock: then no slot is free while somebody waits, except for a launch, and then
 * the timer runs.
 */
static void grant(u64 now)
{
	struct order_request *request;

	while ((request = order_queue_first(&order.queue)) && has_free_slot()) {
		u64 until = order.depth ? launch_hold_until(&order.hold, now) : 0;

		if (until) {
			launch_hold_set(&order.hold, true, now);
			set_timer(min(until, now + HOLD_TICK_NS));
			return;
		}
		take_slot(request, now);
		complete(&request->granted);	/* the last touch: it is on its task's stack */
	}
	launch_hold_set(&order.hold, false, now);
}

static enum hrtimer_restart hold_ended(struct hrtimer *timer)
{
	spin_lock(&order.lock);		/* softirq context */
	order.timer_set = false;
	grant(ktime_get_ns());
	spin_unlock(&order.lock);
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

	spin_lock_bh(&order.lock);
	now = ktime_get_ns();		/* with the lock, so that time never goes back */
	request->came = now;
	order_queue_add(&order.queue, request, now);
	grant(now);
	if (list_empty(&request->node)) {
		spin_unlock_bh(&order.lock);
		return 0;
	}
	spin_unlock_bh(&order.lock);

	left = wait_for_completion_killable_timeout(&request->granted, WAIT_TIMEOUT);

	/* A slot may still have come after the wait ended: the queue tells. */
	spin_lock_bh(&order.lock);
	now = ktime_get_ns();
	order.wait_ns += now - request->came;
	if (left < 0) {
		if (list_empty(&request->node)) {	/* given, but not used */
			launch_hold_request_leave(&order.hold, now);
			order.in_flight--;
			order.grants--;
		} else {
			order_queue_remove(&order.queue, request);
		}
		order.killed++;
		ret = -EINTR;
	} else if (!list_empty(&request->node)) {
		take_slot(request, now);		/* one more than there are */
		order.overdue++;
	}
	grant(now);
	spin_unlock_bh(&order.lock);
	return ret;
}

void order_leave(struct order_request *request)
{
	u64 now;

	/* In one step, so that the VM's next request finds this one charged. */
	spin_lock_bh(&order.lock);
	now = ktime_get_ns();
	if (request->since)
		order_queue_charge(&order.queue, request, now);
	launch_hold_request_leave(&order.hold, now);
	order.in_flight--;
	grant(now);
	spin_unlock_bh(&order.lock);
}

/* A launch's command goes to ccp, and is back. */
void order_launch_enter(u64 gctx)
{
	u64 now;

	spin_lock_bh(&order.lock);	/* may begin a hold */
	now = ktime_get_ns();
	launch_hold_enter(&order.hold, gctx, now);
	grant(now);
	spin_unlock_bh(&order.lock);
}

void order_launch_leave(u64 gctx, bool is_over)
{
	u64 now;

	spin_lock_bh(&order.lock);	/* the next command is awaited from now, or none */
	now = ktime_get_ns();
	launch_hold_leave(&order.hold, gctx, is_over, now);
	grant(now);
	spin_unlock_bh(&order.lock);
}

void order_set_depth(unsigned int new)
{
	spin_lock_bh(&order.lock);	/* with more slots somebody may have one */
	order.depth = new;
	grant(ktime_get_ns());
	spin_unlock_bh(&order.lock);
}

void order_set_launch_share(unsigned int percent)
{
	spin_lock_bh(&order.lock);	/* a hold may end, or begin */
	order.hold.share = percent;
	grant(ktime_get_ns());
	spin_unlock_bh(&order.lock);
}

void order_init(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(&order.timer, hold_ended, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_SOFT);
#else
	hrtimer_init(&order.timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_SOFT);
	order.timer.function = hold_ended;
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
	hrtimer_cancel(&order.timer);
}
