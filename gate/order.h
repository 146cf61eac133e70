/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The order of admitted requests:
 *
 *	order.c		slots, waiting and waking
 *	order_queue.c	who is next: start-time fair queueing
 *	launch_hold.c	whether the next one has to wait for a launch
 *	order_stats.c	what user space reads
 *
 * order_queue.c and launch_hold.c have no lock, no clock and no side effects:
 * order.c calls them with its lock and passes the time. All four also run in user
 * space, in the tests. All times are CLOCK_MONOTONIC in ns.
 */
#ifndef GATE_ORDER_H
#define GATE_ORDER_H

#include <linux/completion.h>
#include <linux/hrtimer.h>
#include <linux/list.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/types.h>

/* A request that waits or has a slot; on the stack of the task that makes it. */
struct order_request {
	struct list_head node;		/* in order_queue.waiting; empty with a slot */
	struct completion granted;
	struct task_struct *task;	/* valid while this is queued: it waits */
	u64 gctx;
	unsigned int weight;		/* 1 to 255 */
	u64 start;			/* virtual: see order_queue.c */
	u64 came;
	bool is_charged;		/* for its slot */
};

/* order_queue.c */
#define ORDER_FLOWS	1024		/* a host has fewer ASIDs for SNP guests */

struct order_flow {
	u64 gctx;
	u64 finish;			/* virtual */
	u64 left;			/* when its last slot ended */
};

struct order_queue {
	struct list_head waiting;	/* by start; of equal ones, by arrival */
	unsigned int nr_waiting;
	u64 virtual_now;
	u64 last_charge;		/* virtual */
	bool was_out_of_turn;		/* the last one that was taken */
	unsigned int nr_flows;
	struct order_flow flows[ORDER_FLOWS];
};

void order_queue_add(struct order_queue *q, struct order_request *request, u64 now);
struct order_request *order_queue_first(struct order_queue *q);
struct order_request *order_queue_next(struct order_queue *q, u64 now);
void order_queue_take(struct order_queue *q, struct order_request *request);
void order_queue_remove(struct order_queue *q, struct order_request *request);
void order_queue_charge(struct order_queue *q, const struct order_request *request, u64 ns,
			u64 now);

/* launch_hold.c */
#define HOLD_LAUNCHES	64		/* more at a time are not waited for */

/*
 * How often the timer looks whether a hold has ended. Setting it at each command of
 * a launch instead would be exact, but cost two settings for each page. What a hold
 * lasts longer counts as used by launches.
 */
#define HOLD_TICK_NS	(2 * NSEC_PER_MSEC)

struct launch {
	u64 gctx;
	u64 left;			/* when its last command ended */
	u64 gap;			/* mean time to its next one */
	unsigned int at_ccp;		/* commands */
};

struct launch_hold {
	unsigned int share;		/* percent; 0: launches are not waited for */
	unsigned int launch_cmds;	/* at ccp */
	unsigned int requests;		/* at ccp, or granted a slot and on their way there */
	unsigned int nr_launches;
	struct launch launches[HOLD_LAUNCHES];
	u64 mark;			/* until when time is accounted for */
	u64 held_since;			/* 0: no request is held */
	s64 credit;			/* see launch_hold.c */
	u64 service, this_service;	/* of a request: mean, and so far */
	u64 longest, longest_at;	/* of the last second or so */
	u64 held_ns, launch_ns, request_ns;
};

enum hold_class { NOBODY, REQUEST, LAUNCH };

void launch_hold_enter(struct launch_hold *h, u64 gctx, u64 now);
void launch_hold_leave(struct launch_hold *h, u64 gctx, bool is_over, u64 now);
void launch_hold_request_enter(struct launch_hold *h, u64 now);
u64 launch_hold_request_leave(struct launch_hold *h, u64 now);
void launch_hold_request_cancel(struct launch_hold *h, u64 now);
u64 launch_hold_until(struct launch_hold *h, u64 now);
unsigned int launch_hold_owed(const struct launch_hold *h);
void launch_hold_set(struct launch_hold *h, bool holding, u64 now);

/* order.c */
#define ORDER_MAX_WEIGHT	255
#define ORDER_STALL_NS	(10 * (u64)NSEC_PER_SEC)

/* Everything of one moment. Since the module was loaded, except the first four. */
struct order_stats {
	unsigned int depth, launch_share;
	unsigned int waiting, in_flight;
	u64 grants;			/* slots given and used, overdue ones included */
	u64 overdue;			/* went to ccp without a slot: see order.c */
	u64 killed;			/* while they waited */
	u64 wait_ns;			/* total of waits that have ended */
	u64 held_ns;			/* a slot was free and somebody waited for it */
	u64 launch_ns, request_ns;	/* the PSP's time, by what the gate sees */
};

struct order_waiter {
	u64 gctx;
	pid_t tgid;
	unsigned int weight;
	s64 start;			/* virtual, less the virtual time: may be negative */
	u64 waited;
};

struct order_state {
	/*
	 * Protects all of the following, and each request in the queue. Taken by
	 * tasks, which may sleep before and after, and by the timer in softirq
	 * context, so tasks disable that. Held for one walk over the waiting VMs
	 * at most. The innermost of the gate's locks: only complete() and
	 * hrtimer_start() are called with it, which take locks of the scheduler
	 * and of timers. The timer's function runs without those.
	 */
	spinlock_t lock;
	struct order_queue queue;
	struct launch_hold hold;
	unsigned int depth;		/* 0: no order, everybody goes at once */
	/* At ccp, or on their way there. More than depth: some are overdue or owed. */
	unsigned int in_flight;
	u64 moved;			/* a slot was given or came back, or nobody waited */
	u64 stall_ns;			/* ORDER_STALL_NS; less in the tests */
	bool is_open;			/* the module is being unloaded: no order any more */
	u64 grants, overdue, killed, wait_ns;
	struct hrtimer timer;		/* looks whether a hold has ended */
	bool timer_set;			/* and has not fired since */
};

extern struct order_state order;	/* order.c and order_stats.c */

struct pid_namespace;

void order_init(void);
void order_open(void);
void order_fini(void);
int order_enter(struct order_request *request, u64 gctx, unsigned int weight);
void order_leave(struct order_request *request);
void order_launch_enter(u64 gctx);
void order_launch_leave(u64 gctx, bool is_over);
void order_set_depth(unsigned int depth);
void order_set_launch_share(unsigned int percent);

/* order_stats.c */
void order_read(struct order_stats *stats);
unsigned int order_list(struct order_waiter *waiters, unsigned int max,
			struct pid_namespace *ns);

#endif
