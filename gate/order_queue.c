// SPDX-License-Identifier: GPL-2.0
/*
 * Who is next: start-time fair queueing (Goyal, Vin and Cheng, 1996) with one
 * flow for each guest context. Virtual time is in ns of a slot at weight 1:
 *
 *	start  = max(virtual time, the VM's last finish)
 *	finish = start + the PSP's time for it / its weight
 *
 * The lowest start is next, and becomes the virtual time. A VM that used less
 * than its share has no finish above the virtual time, so it is next at once;
 * one that used more waits until the others have had as much.
 *
 * The PSP's time is launch_hold.c's: without that of launches' commands which came
 * in between, but with that in which a VMM's thread had the slot and did not run. It
 * kept the PSP idle, and pays for it.
 *
 * A light VM beside many heavy ones could wait for minutes, longer than its guest's
 * watchdogs allow. So of those that have waited for OLD_NS, the oldest one has every
 * other slot, out of turn.
 */
#include "order.h"

#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/time64.h>

/*
 * The most that is charged for one slot. A VM waits for as long as it owes, times
 * the number of VMs that push, and a PSP that stalls is not the fault of whoever
 * has the slot.
 */
#define MAX_CHARGE_NS	(100 * NSEC_PER_MSEC)

/*
 * At depth 1 the VM that was just served is on its way back when the next one is
 * granted, so the virtual time passes a heavy VM's finish, and it would lose what
 * is due to it. So one that is back this soon keeps its finish, for up to one slot.
 */
#define BACK_SOON_NS	(2 * NSEC_PER_MSEC)

#define OLD_NS		(10 * (u64)NSEC_PER_SEC)

static u64 earliest(const struct order_queue *q)
{
	return q->virtual_now - min(q->virtual_now, q->last_charge);
}

/* Also drops the flows that it passes and that no longer matter. */
static struct order_flow *find_flow(struct order_queue *q, u64 gctx)
{
	unsigned int i = 0;

	while (i < q->nr_flows) {
		if (q->flows[i].gctx == gctx)
			return &q->flows[i];
		if (q->flows[i].finish <= earliest(q))
			q->flows[i] = q->flows[--q->nr_flows];
		else
			i++;
	}
	return NULL;
}

static struct order_flow *find_or_create_flow(struct order_queue *q, u64 gctx)
{
	struct order_flow *flow = find_flow(q, gctx);
	unsigned int i;

	if (flow)
		return flow;
	if (q->nr_flows < ORDER_FLOWS) {
		flow = &q->flows[q->nr_flows++];
	} else {		/* the one that is least ahead is forgiven */
		flow = &q->flows[0];
		for (i = 1; i < ORDER_FLOWS; i++)
			if (q->flows[i].finish < flow->finish)
				flow = &q->flows[i];
	}
	*flow = (struct order_flow){ .gctx = gctx };
	return flow;
}

/* Most starts are late ones, so it walks from the end. */
void order_queue_add(struct order_queue *q, struct order_request *request, u64 now)
{
	const struct order_flow *flow = find_flow(q, request->gctx);
	struct order_request *before;

	request->start = q->virtual_now;
	if (flow && now - flow->left < BACK_SOON_NS)
		request->start = earliest(q);
	if (flow)
		request->start = max(request->start, flow->finish);

	list_for_each_entry_reverse(before, &q->waiting, node)
		if (before->start <= request->start)
			break;
	list_add(&request->node, &before->node);	/* the head, if it is the first */
	q->nr_waiting++;
}

/* In turn. */
struct order_request *order_queue_first(struct order_queue *q)
{
	return list_first_entry_or_null(&q->waiting, struct order_request, node);
}

struct order_request *order_queue_next(struct order_queue *q, u64 now)
{
	struct order_request *first = order_queue_first(q), *oldest, *request;

	if (!first || q->was_out_of_turn)
		return first;
	oldest = first;
	list_for_each_entry(request, &q->waiting, node)
		if (request->came < oldest->came)
			oldest = request;
	return now - oldest->came >= OLD_NS ? oldest : first;
}

void order_queue_remove(struct order_queue *q, struct order_request *request)
{
	list_del_init(&request->node);
	q->nr_waiting--;
}

/* It gets a slot. */
void order_queue_take(struct order_queue *q, struct order_request *request)
{
	struct order_flow *flow;

	q->was_out_of_turn = q->waiting.next != &request->node;
	order_queue_remove(q, request);
	if (!q->was_out_of_turn) {
		q->virtual_now = max(q->virtual_now, request->start);
		return;
	}
	/* Others have not had as much yet. What it owes is forgiven, or it would pile up. */
	request->start = q->virtual_now;
	flow = find_flow(q, request->gctx);
	if (flow)
		flow->finish = min(flow->finish, q->virtual_now);
}

/* Its slot ended, and the PSP took so long for it. */
void order_queue_charge(struct order_queue *q, const struct order_request *request, u64 ns,
			u64 now)
{
	struct order_flow *flow = find_or_create_flow(q, request->gctx);

	q->last_charge = div_u64(min_t(u64, ns, MAX_CHARGE_NS), request->weight);
	/* max: should a VM ever have two slots, it is charged for both */
	flow->finish = max(flow->finish, request->start) + q->last_charge;
	flow->left = now;
}
