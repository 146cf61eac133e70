// SPDX-License-Identifier: GPL-2.0
/*
 * The ground truth: what the fake firmware did, counted where it decides and
 * before the driver can see the answer. Snapshots are consistent:
 * guest_requests is the sum of all message lines and hung, and of the contexts'
 * requests unless there are more than NR_CONTEXTS.
 *
 *	guest_requests N
 *	hung N				guest requests taken and never answered
 *	hung_other N			other commands, likewise
 *	message TYPE STATUS N		decimal, only those seen
 *	context ADDRESS LAUNCHES N	a guest context page: guests that had it, and
 *					their requests; the first NR_CONTEXTS pages
 *	command CMD N BUSY_NS		hexadecimal; from taking to interrupting
 *	slept_ns CMD N			of that, slept because a parameter said so
 *	launches N			launches begun: GCTX_CREATEs
 *	launch ADDRESS NR COMMANDS PAGES BUSY_NS BEGIN_NS END_NS FAILED
 *					the launch with this number, from 0, of the guest
 *					in this context page: its commands, pages that
 *					were measured (the vCPUs' state included), time in
 *					the firmware, begin of the first and end of the
 *					last command (CLOCK_MONOTONIC), and commands that
 *					failed; in order, the newest NR_LAUNCHES
 *
 * A launch's commands are GCTX_CREATE, LAUNCH_START, ACTIVATE, LAUNCH_UPDATE and
 * LAUNCH_FINISH. One that the driver still waits for is in no launch line yet.
 */
#include "snpsim.h"

#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/psp-sev.h>
#include <linux/slab.h>
#include <linux/string.h>

#define NR_TYPES	256
#define NR_CONTEXTS	2048
#define NR_LAUNCHES	2048

struct launch {
	u64 address;
	u64 commands;
	u64 pages;
	u64 busy_ns;
	u64 begin_ns;
	u64 end_ns;
	u64 failed;
};

struct stats {
	u64 guest_requests;
	u64 hung;
	u64 hung_other;
	u64 messages[NR_TYPES][MAX_STATUS];
	struct {
		u64 address;
		u64 launches;
		u64 requests;
	} contexts[NR_CONTEXTS];
	unsigned int nr_contexts;
	struct {
		u64 count;
		u64 busy_ns;
		u64 slept_ns;
	} commands[MAX_COMMAND];
	struct launch launches[NR_LAUNCHES];	/* a ring: NR is at NR % NR_LAUNCHES */
	u64 nr_launches;
};

static struct stats stats;

/*
 * Guards stats. Held for an update by the PSP thread or a copy by a reader,
 * which may both sleep.
 */
static DEFINE_MUTEX(stats_lock);

/* An index into contexts, or NR_CONTEXTS if they are used up. */
static unsigned int context_index(u64 gctx)
{
	unsigned int i;

	for (i = 0; i < stats.nr_contexts; i++)
		if (stats.contexts[i].address == gctx)
			return i;
	if (i < NR_CONTEXTS) {
		stats.contexts[i].address = gctx;
		stats.nr_contexts++;
	}
	return i;
}

void stats_context(u64 gctx)
{
	unsigned int i;

	mutex_lock(&stats_lock);
	i = context_index(gctx);
	if (i < NR_CONTEXTS)
		stats.contexts[i].launches++;
	mutex_unlock(&stats_lock);
}

void stats_message(u64 gctx, u8 type, u16 status)
{
	unsigned int i;

	if (WARN_ON_ONCE(status >= MAX_STATUS))
		return;
	mutex_lock(&stats_lock);
	i = context_index(gctx);
	if (i < NR_CONTEXTS)
		stats.contexts[i].requests++;
	stats.guest_requests++;
	stats.messages[type][status]++;
	mutex_unlock(&stats_lock);
}

void stats_hung(unsigned int cmd)
{
	mutex_lock(&stats_lock);
	if (cmd == SEV_CMD_SNP_GUEST_REQUEST) {
		stats.guest_requests++;
		stats.hung++;
	} else {
		stats.hung_other++;
	}
	mutex_unlock(&stats_lock);
}

static u64 oldest_launch(const struct stats *s)
{
	return s->nr_launches > NR_LAUNCHES ? s->nr_launches - NR_LAUNCHES : 0;
}

/* The newest with this context page; NULL: it is forgotten. */
static struct launch *launch_find(u64 address)
{
	u64 oldest = oldest_launch(&stats);
	u64 nr = stats.nr_launches;

	while (nr-- > oldest) {
		struct launch *l = &stats.launches[nr % NR_LAUNCHES];

		if (l->address == address)
			return l;
	}
	return NULL;
}

static void launch_command(const struct command *c)
{
	struct launch *l;

	if (c->cmd == SEV_CMD_SNP_GCTX_CREATE) {
		l = &stats.launches[stats.nr_launches++ % NR_LAUNCHES];
		*l = (struct launch){ .address = c->launching, .begin_ns = c->begin_ns };
	} else {
		l = launch_find(c->launching);
		if (!l)
			return;
	}
	l->commands++;
	l->busy_ns += c->end_ns - c->begin_ns;
	l->end_ns = c->end_ns;
	if (c->status)
		l->failed++;
	else if (c->cmd == SEV_CMD_SNP_LAUNCH_UPDATE)
		l->pages++;
}

void stats_command(const struct command *c)
{
	mutex_lock(&stats_lock);
	if (c->cmd < MAX_COMMAND) {
		stats.commands[c->cmd].count++;
		stats.commands[c->cmd].busy_ns += c->end_ns - c->begin_ns;
		stats.commands[c->cmd].slept_ns += c->slept_ns;
	}
	if (c->launching)
		launch_command(c);
	mutex_unlock(&stats_lock);
}

struct stats *stats_snapshot(void)
{
	struct stats *s = kvmalloc(sizeof(*s), GFP_KERNEL);

	if (!s)
		return NULL;
	mutex_lock(&stats_lock);
	memcpy(s, &stats, sizeof(*s));
	mutex_unlock(&stats_lock);
	return s;
}

void stats_free(struct stats *s)
{
	kvfree(s);
}

static void print_launches(struct seq_file *m, const struct stats *s)
{
	u64 nr;

	seq_printf(m, "launches %llu\n", s->nr_launches);
	for (nr = oldest_launch(s); nr < s->nr_launches; nr++) {
		const struct launch *l = &s->launches[nr % NR_LAUNCHES];

		seq_printf(m, "launch 0x%llx %llu %llu %llu %llu %llu %llu %llu\n", l->address,
			   nr, l->commands, l->pages, l->busy_ns, l->begin_ns, l->end_ns,
			   l->failed);
	}
}

void stats_print(struct seq_file *m, const struct stats *s)
{
	unsigned int i, status;

	seq_printf(m, "guest_requests %llu\n", s->guest_requests);
	seq_printf(m, "hung %llu\n", s->hung);
	seq_printf(m, "hung_other %llu\n", s->hung_other);
	for (i = 0; i < NR_TYPES; i++)
		for (status = 0; status < MAX_STATUS; status++)
			if (s->messages[i][status])
				seq_printf(m, "message %u %u %llu\n", i, status,
					   s->messages[i][status]);
	for (i = 0; i < s->nr_contexts; i++)
		seq_printf(m, "context 0x%llx %llu %llu\n", s->contexts[i].address,
			   s->contexts[i].launches, s->contexts[i].requests);
	for (i = 0; i < MAX_COMMAND; i++)
		if (s->commands[i].count)
			seq_printf(m, "command 0x%x %llu %llu\n", i,
				   s->commands[i].count, s->commands[i].busy_ns);
	for (i = 0; i < MAX_COMMAND; i++)
		if (s->commands[i].count)
			seq_printf(m, "slept_ns 0x%x %llu\n", i, s->commands[i].slept_ns);
	print_launches(m, s);
}
