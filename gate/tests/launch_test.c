// SPDX-License-Identifier: GPL-2.0
/* What launch_hold.c promises to launches and to requests beside them. */
#include "simulation.h"

#include <string.h>

static struct simulation s;

#define REQUEST_NS	(7700 * US)
#define PAGE_NS		(1 * MS)
#define LONG_NS		(20 * (u64)NSEC_PER_SEC)

/*
 * The PSP's time in steps of a millisecond: how much of it requests had. For
 * windows, which the totals would not show.
 */
static u64 requests_had[LONG_NS / NSEC_PER_MSEC + 2000];

static void note_requests(struct simulation *sim, const struct client *c, u64 start)
{
	u64 at, step;

	if (c->is_launch)
		return;
	for (at = start; at < sim->now; at = step) {
		u64 i = (at - NSEC_PER_SEC) / MS;

		step = min(sim->now, (i + 1) * MS + (u64)NSEC_PER_SEC);
		if (i < ARRAY_SIZE(requests_had))
			requests_had[i] += step - at;
	}
}

/* The least that requests had in any 100 ms between two times since the start. */
static u64 least_of_a_window(u64 from, u64 to)
{
	u64 least = U64_MAX, i, j;

	for (i = from / MS; i + 100 < to / MS; i++) {
		u64 had = 0;

		for (j = i; j < i + 100; j++)
			had += requests_had[j];
		least = min(least, had);
	}
	return least;
}

static void begin(unsigned int share, unsigned int pushing, u64 service)
{
	memset(requests_had, 0, sizeof(requests_had));
	simulation_init(&s, share);
	s.served = note_requests;
	while (pushing--)
		simulation_add(&s, false, service, 50 * US);
}

/* How long one launch of 256 pages takes beside so many pushing VMs. */
static u64 launch_beside(unsigned int share, unsigned int pushing, u64 service, u64 *requests)
{
	struct client *launch;

	begin(share, pushing, service);
	simulation_run(&s, NSEC_PER_SEC);
	launch = simulation_add(&s, true, PAGE_NS, 50 * US);
	simulation_run(&s, LONG_NS);
	CHECK(launch->commands == launch->length, "it has sent %u commands", launch->commands);
	if (requests) {
		u64 first = (launch->began_at - NSEC_PER_SEC) / MS, i;

		*requests = 0;
		for (i = first; i < (launch->ended_at - NSEC_PER_SEC) / MS; i++)
			*requests += requests_had[i];
	}
	return launch->ended_at - launch->began_at;
}

static void a_launch_is_little_slower_beside_pushing_vms(void)
{
	static const u64 services[] = { 2 * MS, REQUEST_NS, 17 * MS, 24 * MS };
	static const unsigned int pushing[] = { 1, 16, 64 };
	u64 alone = launch_beside(75, 0, REQUEST_NS, NULL);
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(pushing); i++) {
		for (j = 0; j < ARRAY_SIZE(services); j++) {
			u64 requests;
			u64 took = launch_beside(75, pushing[i], services[j], &requests);
			double times = (double)took / alone, part = (double)requests / took;

			printf("launch beside %u, requests of %.1f ms: %.2f times alone, they had %.2f\n",
			       pushing[i], services[j] / 1e6, times, part);
			/* one request, which was at ccp already, is not its share's fault */
			CHECK(took - services[j] <= alone * 1.4, "%.2f", times);
			/* one VM alone cannot use a part that it does not ask for */
			if (pushing[i] > 1)
				CHECK(requests + services[j] >= took / 4, "they had %.2f", part);
		}
		CHECK(launch_beside(100, pushing[i], REQUEST_NS, NULL) - REQUEST_NS <= alone * 1.1,
		      "100 %%, beside %u", pushing[i]);
		CHECK(launch_beside(0, pushing[i], REQUEST_NS, NULL) >= alone * 7,
		      "without a hold, beside %u", pushing[i]);
	}
}

/* Short requests take nothing away that long ones have earned for launches. */
static void a_launch_beside_short_and_long_requests(void)
{
	u64 alone = launch_beside(75, 0, REQUEST_NS, NULL);
	struct client *launch;
	double times;

	begin(75, 16, REQUEST_NS);
	for (unsigned int i = 0; i < 4; i++)
		simulation_add(&s, false, 300 * US, 50 * US);
	simulation_run(&s, NSEC_PER_SEC);
	launch = simulation_add(&s, true, PAGE_NS, 50 * US);
	simulation_run(&s, LONG_NS);
	CHECK(launch->commands == launch->length, "it has sent %u commands", launch->commands);
	times = (double)(launch->ended_at - launch->began_at) / alone;
	printf("launch beside 16 of 7.7 and 4 of 0.3 ms: %.2f times alone\n", times);
	CHECK(times <= 1.4, "%.2f", times);
}

/* A pause now and then is the VMM's, and does not make it a launch that is not worth waiting for. */
static void a_launch_with_pauses(void)
{
	u64 took[2];

	for (unsigned int i = 0; i < 2; i++) {
		struct client *launch;

		begin(75, i ? 16 : 0, REQUEST_NS);
		simulation_run(&s, NSEC_PER_SEC);
		launch = simulation_add(&s, true, PAGE_NS, 50 * US);
		launch->pause_every = 32;
		launch->long_pause = 30 * MS;
		simulation_run(&s, LONG_NS);
		CHECK(launch->commands == launch->length, "it has sent %u commands",
		      launch->commands);
		took[i] = launch->ended_at - launch->began_at;
	}
	printf("launch with pauses: %.2f times alone\n", (double)took[1] / took[0]);
	CHECK(took[1] <= took[0] * 1.4, "%.2f", (double)took[1] / took[0]);
}

/* The less launches may hold requests, the longer a launch takes, but never longer than without. */
static void a_small_share_is_no_worse_than_none(void)
{
	u64 none = launch_beside(0, 16, REQUEST_NS, NULL);

	for (unsigned int share = 1; share <= 75; share = share * 2 + 1) {
		u64 took = launch_beside(share, 16, REQUEST_NS, NULL);

		printf("share %u %%: %.2f times as long as with none\n", share, (double)took / none);
		CHECK(took <= none * 1.02, "share %u: %.2f", share, (double)took / none);
	}
}

/* Requests longer than their part of a window give launches no more than a window's worth. */
static void very_long_requests(void)
{
	begin(75, 14, 60 * MS);
	simulation_run(&s, NSEC_PER_SEC);
	simulation_add(&s, true, PAGE_NS, 20 * US)->length = -1;
	simulation_run(&s, LONG_NS);
	printf("requests of 60 ms: launches have %.2f\n",
	       (double)s.hold.launch_ns / (s.hold.launch_ns + s.hold.request_ns));
	CHECK(s.hold.credit <= 75 * 25 * (s64)MS, "credit %lld", (long long)s.hold.credit);
}

/* Of each 100 ms, if one request more or less is allowed for. */
static void requests_keep_a_quarter_of_any_window(void)
{
	static const u64 services[] = { 2 * MS, REQUEST_NS, 17 * MS, 24 * MS };
	static const unsigned int shares[] = { 50, 75, 90 };
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(shares); i++) {
		for (j = 0; j < ARRAY_SIZE(services); j++) {
			u64 part = (100 - shares[i]) * MS, least;

			begin(shares[i], 14, services[j]);
			simulation_run(&s, NSEC_PER_SEC);
			simulation_add(&s, true, PAGE_NS, 20 * US)->length = -1;
			simulation_run(&s, LONG_NS);
			least = least_of_a_window(2 * (u64)NSEC_PER_SEC, LONG_NS);
			printf("share %u %%, requests of %.1f ms: at least %.1f of any 100 ms\n",
			       shares[i], services[j] / 1e6, least / 1e6);
			CHECK(least + services[j] * 1.05 + 2 * PAGE_NS >= part, "%llu",
			      (unsigned long long)least);
		}
	}
}

/* Over a long time exactly its share, whoever launches and however. */
static void pretending_gains_nothing(void)
{
	static const struct {
		const char *what;
		unsigned int launches;
		u64 page, pause;
		double least;
		bool can_overtake;
	} launches[] = {
		{ "one without end", 1, PAGE_NS, 20 * US, 0.245, false },
		{ "one with pauses of 1 ms", 1, 200 * US, 1 * MS, 0.245, false },
		{ "one with pauses of 1.9 ms", 1, 200 * US, 1900 * US, 0.245, false },
		{ "one with pauses of 3 ms", 1, 200 * US, 3 * MS, 0.9, false },	/* too slow to wait for */
		{ "one with pauses of 49 ms", 1, 200 * US, 49 * MS, 0.9, false },
		{ "four", 4, PAGE_NS, 20 * US, 0.245, false },
		{ "sixteen", 16, PAGE_NS, 20 * US, 0.245, false },
		{ "sixteen that overtake", 16, PAGE_NS, 20 * US, 0.245, true },
		{ "sixty that overtake", 60, PAGE_NS, 20 * US, 0.245, true },
		{ "sixty with pauses of 1 ms", 60, 100 * US, 1 * MS, 0.245, false },
	};
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(launches); i++) {
		double without, part;
		u64 requests = 0;

		begin(75, 14, REQUEST_NS);
		s.can_overtake = launches[i].can_overtake;
		for (j = 0; j < launches[i].launches; j++)
			simulation_add(&s, true, launches[i].page, launches[i].pause)->length = -1;
		simulation_run(&s, LONG_NS);
		for (j = 0; j < 14; j++)
			requests += s.clients[j].psp_ns;
		part = (double)requests / LONG_NS;
		/* what they would have if nothing was held, after each request one of each */
		without = REQUEST_NS /
			  (double)(REQUEST_NS + launches[i].launches * launches[i].page);
		printf("%s: requests have %.3f of the PSP, without a hold %.3f\n",
		       launches[i].what, part, without);
		CHECK(part >= launches[i].least, "%.3f", part);
		/* the hold's own account is the PSP's */
		CHECK(llabs((s64)(s.hold.request_ns - requests)) < 20 * (s64)MS,
		      "it accounts for %llu of %llu ns",
		      (unsigned long long)s.hold.request_ns, (unsigned long long)requests);
	}
}

/* The PSP waits for a launch that has fallen silent once, and briefly. */
static void a_silent_launch_holds_nobody(void)
{
	struct client *launch;
	u64 before;

	begin(75, 14, REQUEST_NS);
	launch = simulation_add(&s, true, PAGE_NS, 20 * US);
	simulation_run(&s, 100 * MS);
	launch->pause = 3600 * (u64)NSEC_PER_SEC;
	simulation_run(&s, 100 * MS);
	before = s.hold.held_ns;
	simulation_run(&s, NSEC_PER_SEC);
	CHECK(s.hold.held_ns == before, "held for %llu more",
	      (unsigned long long)(s.hold.held_ns - before));
}

/* A launch that is over is not waited for: it finished, or a command failed. */
static void a_finished_launch_holds_nobody(void)
{
	struct launch_hold *h = &s.hold;
	u64 now = NSEC_PER_SEC;

	simulation_init(&s, 75);
	launch_hold_enter(h, 0x1000, now);
	CHECK(launch_hold_until(h, now) > now + MS, "not held during a command");
	launch_hold_leave(h, 0x1000, false, now += MS);
	CHECK(launch_hold_until(h, now) == now + 2 * MS, "not eight gaps");
	launch_hold_enter(h, 0x1000, now += 10 * US);
	launch_hold_leave(h, 0x1000, true, now += MS);
	CHECK(!launch_hold_until(h, now), "held");
	CHECK(!h->nr_launches, "it is kept");
}

/* More launches than there is room for are not waited for, and are counted out. */
static void too_many_launches(void)
{
	struct launch_hold *h = &s.hold;
	u64 now = NSEC_PER_SEC, i;

	simulation_init(&s, 75);
	for (i = 1; i <= 2 * HOLD_LAUNCHES; i++)
		launch_hold_enter(h, i << 12, now++);
	CHECK(h->launch_cmds == 2 * HOLD_LAUNCHES && h->nr_launches == HOLD_LAUNCHES, "%u, %u",
	      h->launch_cmds, h->nr_launches);
	for (i = 2 * HOLD_LAUNCHES; i; i--)
		launch_hold_leave(h, i << 12, i % 2, now++);
	CHECK(!h->launch_cmds, "%u left at ccp", h->launch_cmds);
	CHECK(h->nr_launches == HOLD_LAUNCHES / 2, "%u left", h->nr_launches);
	launch_hold_enter(h, 1 << 30, now += 60 * MS);
	CHECK(h->nr_launches == 1, "silent ones are kept: %u", h->nr_launches);
}

/* A quiet VM beside a launch alone: nobody has used the launch's share up but itself. */
static void a_quiet_vm_beside_a_launch(void)
{
	u64 alone;
	struct client *quiet;

	begin(75, 0, 0);
	quiet = simulation_add(&s, false, REQUEST_NS, 500 * MS);
	simulation_run(&s, LONG_NS);
	alone = client_wait(quiet, 50);
	begin(75, 0, 0);
	quiet = simulation_add(&s, false, REQUEST_NS, 500 * MS);
	simulation_add(&s, true, PAGE_NS, 20 * US)->length = -1;
	simulation_run(&s, LONG_NS);
	printf("quiet VM beside a launch: p50 %.2f times alone\n",
	       (double)client_wait(quiet, 50) / alone);
	CHECK(client_wait(quiet, 50) < 2 * alone, "%llu",
	      (unsigned long long)client_wait(quiet, 50));
}

int main(void)
{
	a_launch_is_little_slower_beside_pushing_vms();
	a_launch_beside_short_and_long_requests();
	a_launch_with_pauses();
	a_small_share_is_no_worse_than_none();
	very_long_requests();
	requests_keep_a_quarter_of_any_window();
	pretending_gains_nothing();
	a_silent_launch_holds_nobody();
	a_finished_launch_holds_nobody();
	too_many_launches();
	a_quiet_vm_beside_a_launch();
	return 0;
}
