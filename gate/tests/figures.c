// SPDX-License-Identifier: GPL-2.0
/* The table of docs/order.md: requests of 7.7 ms, pages of 1 ms, 256 per launch. */
#include "simulation.h"

static struct simulation s;

#define OFF		MAX_CLIENTS	/* a depth that keeps nobody waiting */

static void begin(unsigned int depth, unsigned int share, unsigned int pushing)
{
	simulation_init(&s, share);
	s.depth = depth;
	while (pushing--)
		simulation_add(&s, false, 7700 * US, 50 * US);
	simulation_run(&s, NSEC_PER_SEC);
}

/* In ms. */
static double launch(unsigned int depth, unsigned int share, unsigned int pushing)
{
	struct client *c;

	begin(depth, share, pushing);
	c = simulation_add(&s, true, 1 * MS, 50 * US);
	simulation_run(&s, 200 * (u64)NSEC_PER_SEC);
	CHECK(c->commands == c->length, "%u commands", c->commands);
	return (c->ended_at - c->began_at) / 1e6;
}

/* p50 and p99 in ms of a VM that sends two requests a second. */
static void quiet(unsigned int depth, unsigned int pushing, double *p50, double *p99)
{
	struct client *c;

	begin(depth, 75, pushing);
	c = simulation_add(&s, false, 7700 * US, 500 * MS);
	simulation_run(&s, 200 * (u64)NSEC_PER_SEC);
	*p50 = client_wait(c, 50) / 1e6;
	*p99 = client_wait(c, 99) / 1e6;
}

int main(void)
{
	static const unsigned int pushing[] = { 0, 1, 4, 16, 64 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pushing); i++) {
		double p50, p99, off50, off99;

		quiet(1, pushing[i], &p50, &p99);
		quiet(OFF, pushing[i], &off50, &off99);
		printf("| %u | %.0f, %.0f ms | %.0f, %.0f ms | %.2f s | %.2f s | %.1f s |\n",
		       pushing[i], p50, p99, off50, off99, launch(1, 75, pushing[i]) / 1e3,
		       launch(1, 0, pushing[i]) / 1e3, launch(OFF, 0, pushing[i]) / 1e3);
	}
	return 0;
}
