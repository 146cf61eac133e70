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
static struct order_stats before;

static void use_slot(struct vm *vm)
{
	if (one_slot)
		CHECK(++at_ccp == 1, "%d at ccp", at_ccp);
	usleep(random_below(&vm->seed, 300));
	if (one_slot)
		at_ccp--;
}

/* One request. The killer may strike while it waits. */
static void request(struct vm *vm)
{
	int ret;

	ret = order_enter(&vm->request, vm->gctx, 1 + vm->gctx % ORDER_MAX_WEIGHT);
	if (ret) {
		CHECK(ret == -EINTR, "%d", ret);
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

static void finish(unsigned int count, unsigned int in_flight, unsigned int overdue)
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

static void under_load(void *(*also)(void *))
{
	pthread_t others[LAUNCHES + 1];
	unsigned long i;

	stop = false;
	start(VMS, 150);
	for (i = 0; i < LAUNCHES; i++)
		pthread_create(&others[i], NULL, run_launch, (void *)i);
	pthread_create(&others[LAUNCHES], NULL, also, NULL);
	finish(VMS, 0, 0);
	stop = true;
	for (i = 0; i <= LAUNCHES; i++)
		pthread_join(others[i], NULL);
}

/* A slot that never comes back: the others go when their time is up, and are counted. */
static void a_hung_psp(void)
{
	struct task_struct task;
	struct order_request hung;
	struct order_stats after;

	task_init(&task, VMS + 1);
	current = &task;
	jiffy_ns = NSEC_PER_MSEC;
	CHECK(!order_enter(&hung, 0x1000000, 1), "it should go at once");
	start(10, 1);
	while (order_read(&after), after.overdue - before.overdue < 10)
		usleep(1000);
	order_leave(&hung);
	finish(10, 0, 10);
	jiffy_ns = NSEC_PER_SEC / HZ;
}

/* The module is unloaded: a hundred wait, and all go at once. */
static void unloading(void)
{
	struct task_struct task;
	struct order_request slow;
	struct order_stats now;
	u64 began;

	task_init(&task, VMS + 1);
	current = &task;
	CHECK(!order_enter(&slow, 0x1000000, 1), "it should go at once");
	start(100, 1);
	while (order_read(&now), now.waiting < 100)
		usleep(1000);
	began = ktime_get_ns();
	order_open();
	finish(100, 1, 0);
	CHECK(ktime_get_ns() - began < 5 * (u64)NSEC_PER_SEC, "they waited until their time was up");
	order_leave(&slow);
}

int main(void)
{
	alarm(300);		/* a test that hangs fails */
	order_init();
	one_slot = true;
	alone();
	under_load(run_killer);
	one_slot = false;
	under_load(run_parameters);
	order_set_depth(1);
	order_set_launch_share(75);
	a_hung_psp();
	unloading();
	order_fini();
	return 0;
}
