// SPDX-License-Identifier: GPL-2.0
/*
 * A PSP that executes one command at a time, VMs and launches, with order_queue.c
 * and launch_hold.c between them: without time passing, and the same in each run.
 * ccp's mutex is a queue by arrival.
 */
#include "simulation.h"

#include <string.h>

static unsigned long long seed;

/* Within 5 %, like the rig's. */
static u64 about(u64 ns)
{
	return ns - ns / 20 + random_below(&seed, ns / 10 + 1);
}

static void to_ccp(struct simulation *s, struct client *c)
{
	unsigned int place = s->nr_at_ccp;

	CHECK(s->nr_at_ccp < MAX_CLIENTS, "ccp's queue is full");
	c->overtook = s->can_overtake && c->is_launch && !c->overtook && place > 1;
	if (c->overtook) {
		place = 1;
		memmove(s->at_ccp + 2, s->at_ccp + 1, (s->nr_at_ccp - 1) * sizeof(s->at_ccp[0]));
	}
	s->at_ccp[place] = c;
	if (!s->nr_at_ccp++)
		s->answer_at = s->now + about(c->service);
}

static void grant(struct simulation *s)
{
	struct order_request *request;
	struct client *c;

	while (s->in_flight < s->depth + launch_hold_owed(&s->hold) && s->queue.nr_waiting) {
		u64 until = launch_hold_until(&s->hold, s->now);

		CHECK(!until || until > s->now, "held until %llu, now %llu",
		      (unsigned long long)until, (unsigned long long)s->now);
		if (until) {
			launch_hold_set(&s->hold, true, s->now);
			if (s->timer == U64_MAX)
				s->timer = min(until, s->now + HOLD_TICK_NS);
			return;
		}
		request = order_queue_next(&s->queue, s->now);
		order_queue_take(&s->queue, request);
		s->in_flight++;
		launch_hold_request_enter(&s->hold, s->now);
		c = container_of(request, struct client, request);
		c->granted_at = s->now;
		to_ccp(s, c);
	}
	launch_hold_set(&s->hold, false, s->now);
}

static void send(struct simulation *s, struct client *c)
{
	c->sent_at = s->now;
	c->next_at = U64_MAX;
	if (c->is_launch) {
		if (!c->commands)
			c->began_at = s->now;
		launch_hold_enter(&s->hold, c->request.gctx, s->now);
		to_ccp(s, c);
	} else {
		c->request.came = s->now;
		order_queue_add(&s->queue, &c->request, s->now);
	}
}

static void answered(struct simulation *s)
{
	struct client *c = s->at_ccp[0];
	u64 start = max(s->idle_since, c->sent_at);

	if (!c->is_launch)
		start = max(start, c->granted_at);
	memmove(s->at_ccp, s->at_ccp + 1, --s->nr_at_ccp * sizeof(s->at_ccp[0]));
	s->idle_since = s->now;
	if (s->nr_at_ccp)
		s->answer_at = s->now + about(s->at_ccp[0]->service);
	c->psp_ns += s->now - start;
	c->commands++;
	if (s->served)
		s->served(s, c, start);
	if (c->is_launch) {
		bool is_over = c->commands == c->length;

		launch_hold_leave(&s->hold, c->request.gctx, is_over, s->now);
		c->ended_at = s->now;
		c->next_at = s->now + about(c->pause);
		if (c->pause_every && c->commands % c->pause_every == 0)
			c->next_at = s->now + c->long_pause;
		if (is_over)
			c->next_at = U64_MAX;
	} else {
		order_queue_charge(&s->queue, &c->request,
				   launch_hold_request_leave(&s->hold, s->now), s->now);
		s->in_flight--;
		if (c->nr_waits < MAX_WAITS)
			c->waits[c->nr_waits++] = s->now - c->sent_at;
		c->next_at = s->now + about(c->pause);
	}
}

void simulation_init(struct simulation *s, unsigned int share)
{
	memset(s, 0, sizeof(*s));
	INIT_LIST_HEAD(&s->queue.waiting);
	s->hold.share = share;
	s->depth = 1;
	s->timer = U64_MAX;
	s->now = NSEC_PER_SEC;	/* not 0: the kernel's clock runs, too */
	seed = 88172645463325252ULL;
}

struct client *simulation_add(struct simulation *s, bool is_launch, u64 service, u64 pause)
{
	struct client *c = &s->clients[s->nr_clients++];

	CHECK(s->nr_clients <= MAX_CLIENTS, "too many");
	c->request = (struct order_request){ .gctx = 0x1000ULL * s->nr_clients, .weight = 1 };
	INIT_LIST_HEAD(&c->request.node);
	c->is_launch = is_launch;
	c->service = service;
	c->pause = pause;
	c->length = is_launch ? 256 : 0;
	c->next_at = s->now + random_below(&seed, NSEC_PER_MSEC);
	return c;
}

void simulation_run(struct simulation *s, u64 ns)
{
	u64 end = s->now + ns;

	for (;;) {
		struct client *next = NULL;
		unsigned int i;

		for (i = 0; i < s->nr_clients; i++)
			if (!next || s->clients[i].next_at < next->next_at)
				next = &s->clients[i];
		u64 answer = s->nr_at_ccp ? s->answer_at : U64_MAX;
		u64 at = min(min(answer, s->timer), next ? next->next_at : U64_MAX);

		if (at > end)
			break;
		CHECK(at >= s->now, "time goes back");
		s->now = at;
		if (at == answer)
			answered(s);
		else if (at == s->timer)
			s->timer = U64_MAX;
		else if (next && at == next->next_at)
			send(s, next);
		grant(s);
	}
	s->now = end;
}

static int by_size(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return (x > y) - (x < y);
}

u64 client_wait(struct client *c, unsigned int percent)
{
	CHECK(c->nr_waits, "no request was answered");
	qsort(c->waits, c->nr_waits, sizeof(c->waits[0]), by_size);
	return c->waits[(c->nr_waits - 1) * percent / 100];
}
