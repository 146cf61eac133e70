// SPDX-License-Identifier: GPL-2.0
/* What order_queue.c promises to VMs, without launches. */
#include "simulation.h"

static struct simulation s;

static void add_pushing(unsigned int count, u64 service)
{
	while (count--)
		simulation_add(&s, false, service, 50 * US);
}

/* A VM below its share waits for the request at ccp, and for no other. */
static void a_quiet_vm_is_next(void)
{
	u64 alone, alone_p99;
	struct client *quiet;

	simulation_init(&s, 75);
	quiet = simulation_add(&s, false, 17 * MS, 500 * MS);
	simulation_run(&s, 100 * NSEC_PER_SEC);
	alone = client_wait(quiet, 50);
	alone_p99 = client_wait(quiet, 99);

	simulation_init(&s, 75);
	quiet = simulation_add(&s, false, 17 * MS, 500 * MS);
	add_pushing(14, 17 * MS);
	simulation_run(&s, 100 * NSEC_PER_SEC);
	printf("quiet VM beside 14: p50 %.2f, p99 %.2f times alone\n",
	       (double)client_wait(quiet, 50) / alone, (double)client_wait(quiet, 99) / alone_p99);
	CHECK(client_wait(quiet, 50) < 2 * alone, "p50 %llu",
	      (unsigned long long)client_wait(quiet, 50));
	CHECK(client_wait(quiet, 99) < 3 * alone_p99, "p99 %llu",
	      (unsigned long long)client_wait(quiet, 99));
}

/* VMs that push get the same time, whatever a request of theirs takes. */
static void pushing_vms_get_the_same_time(void)
{
	u64 least = U64_MAX, most = 0;
	unsigned int i;

	simulation_init(&s, 75);
	for (i = 0; i < 8; i++)
		add_pushing(1, (5 + 4 * i) * MS);
	simulation_run(&s, 60 * NSEC_PER_SEC);
	for (i = 0; i < s.nr_clients; i++) {
		least = min(least, s.clients[i].psp_ns);
		most = max(most, s.clients[i].psp_ns);
	}
	/* two of the longest services, within 5 % */
	CHECK(most - least <= 2 * 35 * MS, "%llu and %llu", (unsigned long long)least,
	      (unsigned long long)most);
}

/* Weights below half of the PSP are kept within two services. */
static void weights_divide_the_time(void)
{
	static const unsigned int weights[][3] = { { 1, 3, 3 }, { 1, 3, 4 }, { 2, 6, 5 }, { 5, 15, 14 } };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(weights); i++) {
		struct client *vm = s.clients;
		s64 off;
		int j;

		simulation_init(&s, 75);
		add_pushing(3, 17 * MS);
		for (j = 0; j < 3; j++)
			vm[j].request.weight = weights[i][j];
		simulation_run(&s, 60 * NSEC_PER_SEC);
		printf("weights %u, %u, %u: %.3f, %.3f, %.3f s\n", weights[i][0], weights[i][1],
		       weights[i][2], vm[0].psp_ns / 1e9, vm[1].psp_ns / 1e9, vm[2].psp_ns / 1e9);
		for (j = 1; j < 3; j++) {
			off = (s64)(weights[i][j] * vm[0].psp_ns) - (s64)(weights[i][0] * vm[j].psp_ns);
			/* a service of a light VM is worth as many of a heavy one's */
			CHECK(llabs(off) <= (s64)(2 * weights[i][j] * 18 * MS), "VM %d: %lld ns", j,
			      (long long)off);
		}
	}
}

/* However heavy, at depth 1 a VM gets half, and others what is left in proportion. */
static void one_vm_gets_at_most_half(void)
{
	struct client *vm = s.clients;
	u64 all = 0;
	int i;

	simulation_init(&s, 75);
	add_pushing(5, 10 * MS);
	vm[0].request.weight = ORDER_MAX_WEIGHT;
	simulation_run(&s, 60 * NSEC_PER_SEC);
	for (i = 0; i < 5; i++)
		all += vm[i].psp_ns;
	printf("weight 255 beside four: %.3f of the PSP\n", (double)vm[0].psp_ns / all);
	CHECK(vm[0].psp_ns * 100 >= all * 49 && vm[0].psp_ns * 100 <= all * 51, "%.3f",
	      (double)vm[0].psp_ns / all);
	for (i = 1; i < 5; i++)
		CHECK(vm[i].psp_ns * 8 >= all - 8 * 20 * MS, "VM %d has %.3f", i,
		      (double)vm[i].psp_ns / all);

	/* and has saved nothing up: others of this weight get the same at once */
	for (i = 5; i < 8; i++)
		simulation_add(&s, false, 10 * MS, 50 * US)->request.weight = ORDER_MAX_WEIGHT;
	vm[0].psp_ns = 0;
	simulation_run(&s, 2 * NSEC_PER_SEC);
	for (i = 5; i < 8; i++)
		CHECK(vm[i].psp_ns + 3 * 11 * MS >= vm[0].psp_ns, "VM 0 has %llu, VM %d %llu",
		      (unsigned long long)vm[0].psp_ns, i, (unsigned long long)vm[i].psp_ns);

	/* nor with the same weight as those that were light */
	for (i = 5; i < 8; i++)
		vm[i].next_at = U64_MAX;
	simulation_run(&s, NSEC_PER_SEC);
	for (i = 5; i < 8; i++)
		vm[i].next_at = U64_MAX;
	for (i = 0; i < 5; i++)
		vm[i].psp_ns = vm[i].request.weight = 0;
	for (i = 0; i < 5; i++)
		vm[i].request.weight = 1;
	simulation_run(&s, 2 * NSEC_PER_SEC);
	for (i = 1; i < 5; i++)
		CHECK(vm[i].psp_ns + 3 * 11 * MS >= vm[0].psp_ns, "VM 0 has %llu, VM %d %llu",
		      (unsigned long long)vm[0].psp_ns, i, (unsigned long long)vm[i].psp_ns);
}

/* Whatever comes and goes: first come, first served within a start, none lost. */
static void requests_come_in_order(void)
{
	static struct order_queue q;
	static struct order_request waiting[200];
	unsigned long long seed = 1;
	unsigned int i, queued = 0;
	u64 now = NSEC_PER_SEC;

	INIT_LIST_HEAD(&q.waiting);
	for (i = 0; i < ARRAY_SIZE(waiting); i++) {
		INIT_LIST_HEAD(&waiting[i].node);
		waiting[i].gctx = 0x1000 * (i + 1);
		waiting[i].weight = 1 + i % 255;
	}
	for (i = 0; i < 200000; i++) {
		struct order_request *request = &waiting[random_below(&seed, ARRAY_SIZE(waiting))], *next;

		now += random_below(&seed, 3 * MS);
		if (list_empty(&request->node)) {
			order_queue_add(&q, request, now);
			queued++;
		} else if (random_below(&seed, 4) == 0) {
			order_queue_remove(&q, request);	/* killed */
			queued--;
		}
		next = order_queue_next(&q, now);
		if (next && random_below(&seed, 2)) {
			list_for_each_entry(request, &q.waiting, node)
				CHECK(request->start >= next->start, "out of order");
			order_queue_take(&q, next);
			queued--;
			u64 service = random_below(&seed, 20 * MS);

			order_queue_charge(&q, next, service, now += service);
		}
		CHECK(q.nr_waiting == queued, "%u and %u wait", q.nr_waiting, queued);
		CHECK(q.nr_flows <= ARRAY_SIZE(waiting), "%u flows", q.nr_flows);
	}
}

/* However heavy the others are, and so long that a round takes minutes. */
static void nobody_waits_much_longer_than_ten_seconds(void)
{
	struct client *light;

	simulation_init(&s, 75);
	add_pushing(65, 8 * MS);
	light = &s.clients[64];
	for (unsigned int i = 0; i < 64; i++)
		s.clients[i].request.weight = ORDER_MAX_WEIGHT;
	simulation_run(&s, 300 * (u64)NSEC_PER_SEC);
	printf("weight 1 beside 64 of 255: at most %.1f s\n", client_wait(light, 100) / 1e9);
	CHECK(client_wait(light, 100) <= 11 * (u64)NSEC_PER_SEC, "%llu",
	      (unsigned long long)client_wait(light, 100));

	/* Nor does it owe what it had out of turn: beside two it waits for 511 services. */
	for (unsigned int i = 2; i < 64; i++)
		s.clients[i].pause = 3600 * (u64)NSEC_PER_SEC;
	simulation_run(&s, 20 * (u64)NSEC_PER_SEC);
	light->nr_waits = 0;
	simulation_run(&s, 60 * (u64)NSEC_PER_SEC);
	printf("then beside 2: at most %.1f s\n", client_wait(light, 100) / 1e9);
	CHECK(client_wait(light, 100) <= 5 * (u64)NSEC_PER_SEC, "%llu",
	      (unsigned long long)client_wait(light, 100));
}

/* A slot includes the launches' commands that its request waits for at ccp. */
static void launches_do_not_make_short_requests_long(void)
{
	u64 shorter, longer;

	simulation_init(&s, 75);
	add_pushing(4, 2 * MS);
	add_pushing(4, 24 * MS);
	for (unsigned int i = 0; i < 16; i++)
		simulation_add(&s, true, 1 * MS, 20 * US)->length = -1;
	simulation_run(&s, 100 * (u64)NSEC_PER_SEC);
	shorter = s.clients[0].psp_ns;
	longer = s.clients[4].psp_ns;
	printf("beside 16 launches, requests of 2 and 24 ms: %.2f and %.2f s\n", shorter / 1e9,
	       longer / 1e9);
	CHECK(shorter * 10 >= longer * 9 && longer * 10 >= shorter * 9, "%llu and %llu",
	      (unsigned long long)shorter, (unsigned long long)longer);
}

/* Those that have waited for long do not make a quiet VM wait: they have every other slot. */
static void a_quiet_vm_beside_more_than_the_psp_can_serve(void)
{
	struct client *quiet;

	simulation_init(&s, 75);
	add_pushing(120, 95 * MS);	/* 11.4 s for one of each */
	quiet = simulation_add(&s, false, 95 * MS, 40 * (u64)NSEC_PER_SEC);
	simulation_run(&s, 1000 * (u64)NSEC_PER_SEC);
	printf("quiet VM beside 120, 11.4 s a round: p50 %.2f s\n", client_wait(quiet, 50) / 1e9);
	CHECK(client_wait(quiet, 50) <= 3 * 95 * MS, "%llu",
	      (unsigned long long)client_wait(quiet, 50));
}

/* Once the PSP took 1.2 s, for which the VM that had it cannot be blamed. */
static void a_stall_costs_its_vm_little(void)
{
	struct client *vm = s.clients;

	simulation_init(&s, 75);
	add_pushing(15, 8 * MS);
	vm->service = 1200 * MS;
	simulation_run(&s, NSEC_PER_SEC);
	while (!vm->nr_waits)
		simulation_run(&s, MS);
	vm->service = 8 * MS;
	simulation_run(&s, 20 * (u64)NSEC_PER_SEC);
	printf("after a stall: at most %.2f s\n", client_wait(vm, 100) / 1e9);
	CHECK(client_wait(vm, 100) <= 3 * (u64)NSEC_PER_SEC, "%llu",
	      (unsigned long long)client_wait(vm, 100));
}

/* With more VMs than there is room for, the smallest debts are forgiven. */
static void too_many_vms(void)
{
	static struct order_queue q;
	struct order_request request = { .weight = 1 };
	u64 now = NSEC_PER_SEC, i;

	INIT_LIST_HEAD(&q.waiting);
	INIT_LIST_HEAD(&request.node);
	for (i = 0; i < 5 * ORDER_FLOWS; i++) {
		request.gctx = i << 12;
		order_queue_add(&q, &request, now);
		order_queue_take(&q, &request);
		q.virtual_now = 0;	/* as if all had come at once */
		order_queue_charge(&q, &request, 10 * MS, now += 10 * MS);
		CHECK(q.nr_flows <= ORDER_FLOWS, "%u flows", q.nr_flows);
	}
	CHECK(q.nr_flows == ORDER_FLOWS, "%u flows", q.nr_flows);
}

/* A slot that lasts an hour because the PSP hangs costs its VM a tenth of a second. */
static void a_charge_is_limited(void)
{
	static struct order_queue q;
	struct order_request request = { .gctx = 1, .weight = 1 };
	u64 now = NSEC_PER_SEC;

	INIT_LIST_HEAD(&q.waiting);
	INIT_LIST_HEAD(&request.node);
	order_queue_add(&q, &request, now);
	order_queue_take(&q, &request);
	now += 3600 * (u64)NSEC_PER_SEC;
	order_queue_charge(&q, &request, 3600 * (u64)NSEC_PER_SEC, now);
	order_queue_add(&q, &request, now);
	CHECK(request.start <= 100 * MS, "starts at %llu", (unsigned long long)request.start);
}

int main(void)
{
	a_quiet_vm_is_next();
	pushing_vms_get_the_same_time();
	weights_divide_the_time();
	one_vm_gets_at_most_half();
	requests_come_in_order();
	nobody_waits_much_longer_than_ten_seconds();
	launches_do_not_make_short_requests_long();
	a_quiet_vm_beside_more_than_the_psp_can_serve();
	a_stall_costs_its_vm_little();
	too_many_vms();
	a_charge_is_limited();
	return 0;
}
