/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TESTS_SIMULATION_H
#define TESTS_SIMULATION_H

#include "check.h"
#include "order.h"

#define MAX_CLIENTS	128
#define MAX_WAITS	4096
#define MS		((u64)NSEC_PER_MSEC)
#define US		((u64)NSEC_PER_USEC)

/* A VM that sends requests, or one that is launched. */
struct client {
	struct order_request request;
	bool is_launch;
	unsigned int commands, length;	/* a launch ends after length */
	u64 service, pause;		/* between an answer and the next command */
	u64 next_at, sent_at, granted_at, began_at, ended_at;
	unsigned int pause_every;	/* pages; 0: no other pauses */
	u64 long_pause;
	bool overtook;
	u64 psp_ns;
	unsigned int nr_waits;
	u64 waits[MAX_WAITS];		/* whole requests, with the service */
};

struct simulation {
	struct order_queue queue;
	struct launch_hold hold;
	unsigned int depth, in_flight;
	/*
	 * The mutex' owner wakes up the first waiter, but a thread that runs takes it
	 * before; once, then it is handed over. So each second command of a launch
	 * waits for one other command only.
	 */
	bool can_overtake;
	u64 now, timer;
	unsigned int nr_at_ccp;
	struct client *at_ccp[MAX_CLIENTS];	/* the first is being executed */
	u64 answer_at, idle_since;
	unsigned int nr_clients;
	struct client clients[MAX_CLIENTS];
	/* A command was executed, from start until now. */
	void (*served)(struct simulation *s, const struct client *c, u64 start);
};

void simulation_init(struct simulation *s, unsigned int share);
struct client *simulation_add(struct simulation *s, bool is_launch, u64 service, u64 pause);
void simulation_run(struct simulation *s, u64 ns);
u64 client_wait(struct client *c, unsigned int percent);

#endif
