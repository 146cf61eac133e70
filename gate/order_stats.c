// SPDX-License-Identifier: GPL-2.0
/* What user space reads of the order: numbers, and who waits. */
#include "order.h"

#include <linux/ktime.h>
#include <linux/pid.h>

void order_read(struct order_stats *stats)
{
	u64 since;

	spin_lock_bh(&order.lock);	/* for values of one moment */
	since = order.hold.held_since;
	*stats = (struct order_stats){
		.depth = order.depth,
		.launch_share = order.hold.share,
		.waiting = order.queue.nr_waiting,
		.in_flight = order.in_flight,
		.grants = order.grants,
		.overdue = order.overdue,
		.killed = order.killed,
		.wait_ns = order.wait_ns,
		.held_ns = order.hold.held_ns + (since ? ktime_get_ns() - since : 0),
		.launch_ns = order.hold.launch_ns,
		.request_ns = order.hold.request_ns,
	};
	spin_unlock_bh(&order.lock);
}

/* Those that wait, the next one first. Returns how many there are, even beyond max. */
unsigned int order_list(struct order_waiter *waiters, unsigned int max,
			struct pid_namespace *ns)
{
	const struct order_request *request;
	unsigned int count = 0;
	u64 now;

	spin_lock_bh(&order.lock);	/* keeps the requests, and so their tasks */
	now = ktime_get_ns();
	list_for_each_entry(request, &order.queue.waiting, node) {
		if (count == max)
			break;
		waiters[count++] = (struct order_waiter){
			.gctx = request->gctx,
			.tgid = task_tgid_nr_ns(request->task, ns),
			.weight = request->weight,
			.start = request->start - order.queue.virtual_now,
			.waited = now - request->came,
		};
	}
	count = order.queue.nr_waiting;
	spin_unlock_bh(&order.lock);
	return count;
}
