// SPDX-License-Identifier: GPL-2.0
/*
 * order.c with threads: nobody is lost, nobody beyond the depth, exact counts.
 * ThreadSanitizer watches; with one slot that slot is a lock, so it also watches
 * that what is done with the slot is done by one at a time.
 */
#include "check.h"
#include "order.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define VMS		24
#define LAUNCHES	3

struct vm {
	pthread_t thread;
	struct task_struct task;
	struct order_request request;
	u64 gctx;
	unsigned long long seed;
	unsigned int times, grants, killed;
};

static struct vm vms[100];
static atomic_bool stop;
static int at_ccp;			/* no lock: the slot is one */
static bool one_slot;
static unsigned int slot_us;		/* 0: random */
static unsigned int most_at_once;	/* without launches: depth */
static atomic_uint at_once;
static struct order_stats before;

static void use_slot(struct vm *vm)
{
	unsigned int others = at_once++;

	CHECK(others < most_at_once, "%u at ccp", others + 1);
	if (one_slot)
		CHECK(++at_ccp == 1, "%d at ccp", at_ccp);
	usleep(slot_us ?: random_below(&vm->seed, 300));
	if (one_slot)
		at_ccp--;
	at_once--;
}

/* One request. The killer may strike while it waits. */
static void request(struct vm *vm)
{
	int ret;

	ret = order_enter(&vm->request, vm->gctx, 1 + vm->gctx % ORDER_MAX_WEIGHT);
	if (ret) {
		CHECK(ret == -ECANCELED, "%d", ret);
		vm->killed++;
		pthread_mutex_lock(&vm->task.lock);
		vm->task.killed = false;	/* for the next one */
		pthread_mutex_unlock(&vm->task.lock);
		return;
	}
	vm->grants++;
	use_slot(vm);
	order_leave(&vm->request);
}

static void *run_vm(void *argument)
{
	struct vm *vm = argument;
	unsigned int i;

	current = &vm->task;
	for (i = 0; i < vm->times; i++)
		request(vm);
	return NULL;
}

static void start(unsigned int count, unsigned int times)
{
	unsigned int i;

	order_read(&before);
	for (i = 0; i < count; i++) {
		vms[i] = (struct vm){ .gctx = 0x1000 * (i + 1), .seed = i + 1, .times = times };
		task_init(&vms[i].task, i + 1);
		pthread_create(&vms[i].thread, NULL, run_vm, &vms[i]);
	}
}

/* Returns how many were killed. */
static unsigned int finish(unsigned int count, unsigned int in_flight, unsigned int overdue)
{
	unsigned int i, grants = 0, killed = 0, times = 0;
	struct order_stats after;

	for (i = 0; i < count; i++) {
		pthread_join(vms[i].thread, NULL);
		grants += vms[i].grants;
		killed += vms[i].killed;
		times += vms[i].times;
	}
	order_read(&after);
	CHECK(order.hold.requests == in_flight, "%u requests", order.hold.requests);
	CHECK(!after.waiting && after.in_flight == in_flight, "%u wait, %u in flight", after.waiting,
	      after.in_flight);
	CHECK(grants + killed == times, "%u and %u of %u", grants, killed, times);
	CHECK(after.grants - before.grants == grants, "%llu grants, not %u",
	      (unsigned long long)(after.grants - before.grants), grants);
	CHECK(after.killed - before.killed == killed, "%llu killed, not %u",
	      (unsigned long long)(after.killed - before.killed), killed);
	CHECK(after.overdue - before.overdue == overdue, "%llu overdue",
	      (unsigned long long)(after.overdue - before.overdue));
	printf("%u requests, %u killed, %u overdue, held %.1f ms\n", times, killed,
	       overdue, (after.held_ns - before.held_ns) / 1e6);
	return killed;
}

static void *run_launch(void *argument)
{
	u64 gctx = 0x10000000 + (u64)(uintptr_t)argument * 0x1000, i;
	unsigned long long seed = gctx;

	for (i = 1; !stop; i++) {
		order_launch_enter(gctx);
		usleep(random_below(&seed, 200));
		order_launch_leave(gctx, i % 50 == 0);
		usleep(random_below(&seed, 100));
	}
	return NULL;
}

/* Kills those that wait, by the kernel's rule: the request is theirs while they do. */
static void *run_killer(void *argument)
{
	unsigned long long seed = 7;

	(void)argument;
	while (!stop) {
		struct order_waiter waiters[VMS];
		unsigned int count = min(order_list(waiters, VMS, NULL), VMS);

		if (count) {
			struct order_waiter *it = &waiters[random_below(&seed, count)];

			CHECK(it->tgid >= 1 && it->tgid <= VMS, "tgid %d", it->tgid);
			CHECK(it->gctx == 0x1000 * (u64)it->tgid, "not its context");
			CHECK(it->weight == 1 + it->gctx % ORDER_MAX_WEIGHT, "weight %u", it->weight);
			kill_task(&vms[it->tgid - 1].task);
		}
		usleep(500);
	}
	return NULL;
}

static void *run_parameters(void *argument)
{
	unsigned long long seed = 9;

	(void)argument;
	while (!stop) {
		order_set_depth(random_below(&seed, 4));
		order_set_launch_share(random_below(&seed, 101));
		usleep(300);
	}
	return NULL;
}

/* Nobody else grants: if a slot's end woke nobody, they would wait until their time is up. */
static void alone(void)
{
	start(VMS, 30);
	finish(VMS, 0, 0);
}

/* Waits that take longer than the order may stand still are no sign of that. */
static void many_vms(void)
{
	order.stall_ns = 2 * (u64)NSEC_PER_SEC;	/* a busy machine stands still, too */
	slot_us = 25000;
	start(ARRAY_SIZE(vms), 1);	/* the last one waits for 2.5 s */
	finish(ARRAY_SIZE(vms), 0, 0);
	slot_us = 0;
	order.stall_ns = ORDER_STALL_NS;
}

/* Returns how many were killed. */
static unsigned int under_load(void *(*also)(void *))
{
	pthread_t others[LAUNCHES + 1];
	unsigned int killed;
	unsigned long i;

	stop = false;
	start(VMS, 150);
	for (i = 0; i < LAUNCHES; i++)
		pthread_create(&others[i], NULL, run_launch, (void *)i);
	pthread_create(&others[LAUNCHES], NULL, also, NULL);
	killed = finish(VMS, 0, 0);
	stop = true;
	for (i = 0; i <= LAUNCHES; i++)
		pthread_join(others[i], NULL);
	CHECK(!order.hold.launch_cmds, "%u commands", order.hold.launch_cmds);
	return killed;
}

/* The main thread becomes this task, and has the only slot. */
static void take_slot(struct task_struct *task, struct order_request *request)
{
	task_init(task, VMS + 1);
	current = task;
	CHECK(!order_enter(request, 0x1000000, 1), "it should go at once");
}

static struct order_request slot;

/* A third one begins to wait, and then the killed one is given the slot. */
static void give_slot_back(void)
{
	struct order_stats now;

	start(1, 1);
	while (order_read(&now), now.waiting < 2)
		usleep(1000);
	order_leave(&slot);
}

/*
 * Its kill ends the wait, and before it has said so it is given a slot: which then
 * goes to the next one.
 */
static void killed_with_a_slot(void)
{
	struct task_struct task;
	struct order_request killed;
	struct order_stats now;
	u64 began;

	take_slot(&task, &slot);
	wait_has_ended = give_slot_back;
	task.killed = true;
	began = ktime_get_ns();
	CHECK(order_enter(&killed, 0x2000000, 1) == -ECANCELED, "it has a slot");
	wait_has_ended = NULL;
	pthread_join(vms[0].thread, NULL);
	CHECK(ktime_get_ns() - began < 5 * (u64)NSEC_PER_SEC, "the third one was not granted");
	order_read(&now);
	CHECK(!now.in_flight && !now.waiting && !order.hold.requests, "%u in flight",
	      now.in_flight);
	CHECK(now.grants == before.grants + 1 && now.killed == before.killed + 1 &&
	      now.wait_ns > before.wait_ns, "counts");
}

/* Killed when everybody is let through: it never went to ccp. */
static void killed_at_a_standstill(void)
{
	struct task_struct task;
	struct order_request killed;
	struct order_stats now;

	order_read(&before);
	take_slot(&task, &slot);
	order.stall_ns = 1;
	task.killed = true;
	CHECK(order_enter(&killed, 0x2000000, 1) == -ECANCELED, "it has a slot");
	order_read(&now);
	CHECK(now.overdue == before.overdue && now.killed == before.killed + 1, "counts");
	order_leave(&slot);
	order.stall_ns = ORDER_STALL_NS;
}

/* That a slot was held for long before somebody came is no standstill. */
static void a_slow_request(void)
{
	struct task_struct task;
	struct order_stats now;

	order.stall_ns = 300 * NSEC_PER_MSEC;
	take_slot(&task, &slot);
	usleep(400000);
	start(1, 1);
	while (order_read(&now), now.waiting < 1)
		usleep(1000);
	order_leave(&slot);
	finish(1, 0, 0);
	order.stall_ns = ORDER_STALL_NS;
}

/* A slot that never comes back: the others go after stall_ns, and are counted. */
static void a_hung_psp(void)
{
	struct task_struct task;
	struct order_request hung;
	struct order_stats after;
	unsigned int i;
	u64 began;

	order.stall_ns = 100 * NSEC_PER_MSEC;
	take_slot(&task, &hung);
	began = ktime_get_ns();
	start(10, 1);
	while (order_read(&after), after.overdue - before.overdue < 10)
		usleep(1000);
	CHECK(ktime_get_ns() - began < 5 * (u64)NSEC_PER_SEC, "it took %llu ns",
	      (unsigned long long)(ktime_get_ns() - began));
	order_leave(&hung);
	finish(10, 0, 10);
	for (i = 0; i < 10; i++)
		CHECK(!vms[i].request.is_charged, "it is charged for ccp's queue");
	order.stall_ns = ORDER_STALL_NS;
}

/* The module is unloaded: a hundred wait, and all go at once. */
static void unloading(void)
{
	struct task_struct task;
	struct order_request slow, hasty, late;
	struct order_stats now;
	u64 began;

	take_slot(&task, &slow);
	start(100, 1);
	while (order_read(&now), now.waiting < 100)
		usleep(1000);
	began = ktime_get_ns();
	order_open();
	finish(100, 1, 0);
	CHECK(ktime_get_ns() - began < 5 * (u64)NSEC_PER_SEC, "they waited until their time was up");
	CHECK(!order_enter(&hasty, 0x2000000, 1), "it should go at once");
	order_set_depth(1);	/* somebody sets it while the module is unloaded */
	CHECK(!order_enter(&late, 0x3000000, 1), "it should go at once");
	order_leave(&slow);
	order_leave(&hasty);
	order_leave(&late);
}

int main(void)
{
	alarm(300);		/* a test that hangs fails */
	order_init();
	one_slot = true;
	most_at_once = 1;
	alone();
	many_vms();
	order_set_launch_share(0);
	CHECK(under_load(run_killer), "nobody was killed");
	order_set_launch_share(75);
	one_slot = false;
	most_at_once = 1 + LAUNCHES;	/* as many more may be owed */
	CHECK(under_load(run_killer), "nobody was killed");
	CHECK(order.hold.held_ns, "nobody was held");
	most_at_once = VMS;
	under_load(run_parameters);
	order_set_depth(1);
	order_set_launch_share(75);
	killed_with_a_slot();
	killed_at_a_standstill();
	a_slow_request();
	most_at_once = ARRAY_SIZE(vms);
	a_hung_psp();
	unloading();
	order_fini();
	return 0;
}
