// SPDX-License-Identifier: GPL-2.0
/*
 * The order in which admitted requests go to ccp. Behind ccp's mutex a request
 * waits for all that came before it, and each command of a launch for a request
 * of every VM that asks. So at most depth requests have a slot, which lets them
 * through to that mutex, and the others wait here. order_queue.c says who is next,
 * launch_hold.c whether a free slot has to wait for a launch.
 *
 * Nobody is refused for having waited. If no slot is given or comes back for
 * stall_ns while somebody waits, all that wait go to ccp's mutex as without the
 * gate. So should a slot ever be lost, or the PSP hang, all is as it was without an
 * order, later. They are counted as overdue.
 */
#include "order.h"

#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/minmax.h>
#include <linux/time64.h>
#include <linux/version.h>

struct order_state order = {
	.lock = __SPIN_LOCK_UNLOCKED(order.lock),
	.queue = { .waiting = LIST_HEAD_INIT(order.queue.waiting) },
	.hold = { .share = 75 },
	.depth = 1,
	.stall_ns = ORDER_STALL_NS,
};

static bool is_off(void)
{
	return !order.depth || order.is_open;
}

static void take_slot(struct order_request *request, u64 now)
{
	order_queue_take(&order.queue, request);
	request->is_charged = !is_off();	/* or it would pay for ccp's queue */
	order.in_flight++;
	order.grants++;
	order.moved = now;
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
	return is_off() || order.in_flight < order.depth + launch_hold_owed(&order.hold);
}

/*
 * To be called after every change of slots, queue, launches or parameters, with the
 * lock: then no slot is free while somebody waits, except for a launch, and then
 * the timer runs.
 */
static void grant(u64 now)
{
	struct order_request *request;

	while (has_free_slot() && order.queue.nr_waiting) {
		u64 until = is_off() ? 0 : launch_hold_until(&order.hold, now);

		if (until) {
			launch_hold_set(&order.hold, true, now);
			set_timer(min(until, now + HOLD_TICK_NS));
			return;
		}
		/* only now, as it walks over all that wait */
		request = is_off() ? order_queue_first(&order.queue) :
				     order_queue_next(&order.queue, now);
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

/* Nothing has moved for too long. */
static void let_all_go(u64 now)
{
	struct order_request *request;

	while ((request = order_queue_first(&order.queue))) {
		take_slot(request, now);
		request->is_charged = false;
		order.overdue++;
		complete(&request->granted);
	}
	launch_hold_set(&order.hold, false, now);
}

/* Called with the lock, and while the request is queued. */
static int wait_for_slot(struct order_request *request)
{
	u64 now = request->came;
	long left = 0;

	while (left >= 0 && !list_empty(&request->node)) {
		u64 until = order.moved + order.stall_ns;
		u64 ns = until - min(until, now);

		spin_unlock_bh(&order.lock);
		left = wait_for_completion_killable_timeout(&request->granted,
							    nsecs_to_jiffies(ns) + 1);
		spin_lock_bh(&order.lock);
		now = ktime_get_ns();
		if (left >= 0 && now - order.moved >= order.stall_ns)
			let_all_go(now);
	}
	order.wait_ns += now - request->came;
	if (left >= 0)
		return 0;

	/* A slot may have come after the wait ended. */
	if (list_empty(&request->node)) {
		launch_hold_request_cancel(&order.hold, now);
		order.in_flight--;
		order.grants--;
	} else {
		order_queue_remove(&order.queue, request);
	}
	order.killed++;
	grant(now);
	/*
	 * The task never sees it, but who watches KVM_RUN does: -EINTR would say
	 * that a signal came after an answer.
	 */
	return -ECANCELED;
}

/*
 * Returns 0 with a slot, which order_leave() gives back, or -ECANCELED without one if
 * the task is being killed. Other signals do not end the wait, as they do not end
 * the one for ccp's mutex: the guest would have to be answered BUSY, and would
 * sleep for two seconds, each time its VMM kicks the vCPU.
 */
int order_enter(struct order_request *request, u64 gctx, unsigned int weight)
{
	int ret = 0;
	u64 now;

	init_completion(&request->granted);
	request->gctx = gctx;
	request->weight = weight;
	request->task = current;

	spin_lock_bh(&order.lock);
	now = ktime_get_ns();		/* with the lock, so that time never goes back */
	request->came = now;
	if (list_empty(&order.queue.waiting))
		order.moved = now;
	order_queue_add(&order.queue, request, now);
	grant(now);
	if (!list_empty(&request->node))
		ret = wait_for_slot(request);
	spin_unlock_bh(&order.lock);
	return ret;
}

void order_leave(struct order_request *request)
{
	u64 now, ns;

	/* In one step, so that the VM's next request finds this one charged. */
	spin_lock_bh(&order.lock);
	now = ktime_get_ns();
	ns = launch_hold_request_leave(&order.hold, now);
	if (request->is_charged)
		order_queue_charge(&order.queue, request, ns, now);
	order.in_flight--;
	order.moved = now;
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
	spin_lock_bh(&order.lock);	/* all that wait have a slot now */
	order.is_open = true;
	grant(ktime_get_ns());
	spin_unlock_bh(&order.lock);
}

/* Everybody has left. The timer may still run for a hold that has ended. */
void order_fini(void)
{
	hrtimer_cancel(&order.timer);
}
