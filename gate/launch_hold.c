// SPDX-License-Identifier: GPL-2.0
/*
 * Whether requests have to wait for a launch. A launch sends its commands one at
 * a time, so between any two of them a whole request would fit, which takes as
 * long as several of them. So while a launch is in progress requests wait until
 * its next command has come: eight times the mean time that this launch takes to
 * send it, but between MIN_WAIT_NS and MAX_WAIT_NS. A launch whose mean is longer is
 * not waited for between its commands.
 *
 * A launch is in progress from its first command to LAUNCH_FINISH, its first
 * command that failed, or SILENCE_NS without any.
 *
 * Launches may use @share percent of the PSP that way. While they use it, @credit
 * falls by 100 - share per ns, otherwise it rises by share; above 0 requests may
 * be held. It rises to no more than the service of one request is worth, the longest
 * one of late: less would take away what that request has earned for launches. So in
 * any WINDOW_NS launches exceed their share by less than one request. And no service
 * counts for more than requests' part of WINDOW_NS. All launches share this, so
 * many launches, or one that only pretends, gain nothing beyond it by holds. Below
 * 0 requests are owed time, WINDOW_NS at most: see launch_hold_owed().
 *
 * The PSP executes one command at a time. So the time before a command's end was
 * its own, back to its arrival or the end of the one before. Commands that do not
 * pass the gate look like the one that they delay.
 */
#include "order.h"

#include <linux/limits.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/time64.h>

#define MIN_WAIT_NS	(200 * NSEC_PER_USEC)
#define MAX_WAIT_NS	(2 * NSEC_PER_MSEC)
#define FIRST_GAP_NS	(250 * NSEC_PER_USEC)
#define SILENCE_NS	(50 * NSEC_PER_MSEC)
#define WINDOW_NS	(100 * NSEC_PER_MSEC)
#define FIRST_SERVICE_NS (10 * NSEC_PER_MSEC)

/* Of a request; never 0. */
static u64 mean_service(const struct launch_hold *h)
{
	return h->service ?: FIRST_SERVICE_NS;
}

static s64 most_credit(const struct launch_hold *h)
{
	u64 requests_part = (u64)WINDOW_NS * (100 - h->share) / 100;

	/* at 100 % nothing is used up, so 1 is enough for ever */
	return max_t(s64, 1, h->share * min(max(h->longest, mean_service(h)), requests_part));
}

/*
 * Accounts for the time until now. Between a launch command and a request at ccp
 * it is not known whose it is, until one of them leaves.
 */
static void account(struct launch_hold *h, enum hold_class left, u64 now)
{
	u64 ns = now - h->mark;
	bool launches;

	if (h->launch_cmds && h->requests) {
		if (left == NOBODY)
			return;
		launches = left == LAUNCH;
	} else {
		launches = h->launch_cmds || (!h->requests && h->held_since);
	}
	h->mark = now;
	if (h->launch_cmds && launches) {
		h->launch_ns += ns;
	} else if (h->requests) {
		h->request_ns += ns;
		h->this_service += ns;
	}

	ns = min_t(u64, ns, NSEC_PER_SEC);	/* more changes nothing but could overflow */
	if (launches)
		h->credit -= ns * (100 - h->share);
	else
		h->credit += ns * h->share;
	h->credit = clamp(h->credit, -(s64)WINDOW_NS * h->share, most_credit(h));
}

static bool is_silent(const struct launch *launch, u64 now)
{
	return !launch->at_ccp && now - launch->left > SILENCE_NS;
}

/* Also drops those that fell silent. */
static struct launch *find_launch(struct launch_hold *h, u64 gctx, u64 now)
{
	struct launch *found = NULL;
	unsigned int i = 0;

	while (i < h->nr_launches) {
		struct launch *launch = &h->launches[i];

		if (is_silent(launch, now)) {
			*launch = h->launches[--h->nr_launches];
			continue;
		}
		if (launch->gctx == gctx)
			found = launch;
		i++;
	}
	return found;
}

void launch_hold_enter(struct launch_hold *h, u64 gctx, u64 now)
{
	struct launch *launch = find_launch(h, gctx, now);

	account(h, NOBODY, now);
	h->launch_cmds++;
	if (launch) {
		/* a single long pause must not make it one that is not waited for */
		if (!launch->at_ccp)
			launch->gap = (7 * launch->gap +
				       min_t(u64, now - launch->left, 4 * MAX_WAIT_NS)) / 8;
		launch->at_ccp++;
	} else if (h->nr_launches < HOLD_LAUNCHES) {
		h->launches[h->nr_launches++] =
			(struct launch){ .gctx = gctx, .gap = FIRST_GAP_NS, .at_ccp = 1 };
	}
}

/* A command ended, and with it the launch if it is over: finished or failed. */
void launch_hold_leave(struct launch_hold *h, u64 gctx, bool is_over, u64 now)
{
	struct launch *launch = find_launch(h, gctx, now);

	account(h, LAUNCH, now);
	h->launch_cmds--;
	/* at_ccp is 0 if there was no room when the command came */
	if (!launch || !launch->at_ccp)
		return;
	launch->at_ccp--;
	launch->left = now;
	if (is_over && !launch->at_ccp)
		*launch = h->launches[--h->nr_launches];
}

void launch_hold_request_enter(struct launch_hold *h, u64 now)
{
	account(h, NOBODY, now);
	h->requests++;
}

/* Returns the PSP's time for it. */
u64 launch_hold_request_leave(struct launch_hold *h, u64 now)
{
	u64 service;

	account(h, REQUEST, now);
	h->requests--;
	service = h->this_service;
	h->this_service = 0;
	h->service = h->service ? (7 * h->service + service) / 8 : service;
	if (service >= h->longest || now - h->longest_at > NSEC_PER_SEC) {
		h->longest = service;
		h->longest_at = now;
	}
	return service;
}

/* A request was granted a slot, but never went to ccp. */
void launch_hold_request_cancel(struct launch_hold *h, u64 now)
{
	account(h, NOBODY, now);
	h->requests--;
}

/* How long its next command is worth waiting for. */
static u64 wait_limit(const struct launch *launch)
{
	if (launch->gap > MAX_WAIT_NS)
		return 0;
	return clamp_t(u64, 8 * launch->gap, MIN_WAIT_NS, MAX_WAIT_NS);
}

/*
 * Until when no slot may be given if no command comes or goes, U64_MAX for as long
 * as none does; 0: one may be given.
 */
u64 launch_hold_until(struct launch_hold *h, u64 now)
{
	u64 silent = 0, used_up = U64_MAX;
	unsigned int i;

	if (!h->share)
		return 0;
	account(h, NOBODY, now);
	if (h->credit <= 0)
		return 0;
	if (h->share < 100)	/* rounded up, so that no credit is left then */
		used_up = now + div_u64(h->credit, 100 - h->share) + 1;

	if (h->launch_cmds)
		return used_up;
	for (i = 0; i < h->nr_launches; i++)
		silent = max(silent, h->launches[i].left + wait_limit(&h->launches[i]));
	return silent > now ? min(silent, used_up) : 0;
}

/*
 * How many requests go to ccp besides those that have a slot, to take turns with
 * launches' commands there. Many launches at a time take more than their share
 * though no request is held, as each of them sends a command between two requests.
 * The command of one launch takes turns with one request.
 */
unsigned int launch_hold_owed(const struct launch_hold *h)
{
	if (!h->share || h->credit >= 0 || !h->launch_cmds)
		return 0;
	return min_t(u64, h->launch_cmds - 1, div64_u64(-h->credit, h->share * mean_service(h)));
}

/* Requests begin or cease to be held. */
void launch_hold_set(struct launch_hold *h, bool holding, u64 now)
{
	if (holding == !!h->held_since)
		return;
	account(h, NOBODY, now);
	if (holding) {
		h->held_since = now;
	} else {
		h->held_ns += now - h->held_since;
		h->held_since = 0;
	}
}
