// SPDX-License-Identifier: GPL-2.0
/*
 * A guest's requests: one at each interrupt of its timer, or none while it waits
 * to repeat one that was BUSY.
 */
#include "guest.h"

#include <linux/minmax.h>
#include <linux/wordpart.h>
#include <asm/apicdef.h>
#include <asm/sev-common.h>
#include <uapi/linux/sev-guest.h>

#define DEBUG_PORT	0x402		/* of the first vCPU; the next ones follow */
#define INVALID_PARAM	0x16		/* some kernels' psp-sev.h lack it */

/*
 * Does not halt with an interrupt in service, as no other would wake it. Once it
 * is acknowledged the next one may come, even before the next step.
 */
bool guest_idle(struct guest *g)
{
	if (!IN_SERVICE(g)) {
		guest_halt(g, STEP_IDLE);
	} else if (guest_shared(g, GPA(g, PAGE_GHCB))) {
		IN_SERVICE(g) = false;
		guest_wrmsr(g, X2APIC(APIC_EOI), APIC_EOI_ACK, STEP_TICK);
	}
	return true;
}

static const struct guest_request *current_request(struct guest *g)
{
	return &g->script->request[g->state->requests % g->script->requests];
}

static u8 vmpck(struct guest *g)
{
	return (current_request(g)->vmpck + 2 * VCPU(g)) % NR_VMPCKS;
}

bool guest_tick(struct guest *g)
{
	struct guest_state *st = g->state;
	u32 interval = g->script->interval_us;

	g->vmsa->rip = STEP_IDLE;
	if (st->busy) {
		st->busy_us += interval;
		st->wait_us -= min_t(u64, st->wait_us, interval);
		if (st->wait_us)
			return false;
	} else if (st->wiped & BIT(vmpck(g))) {
		st->requests++;
		g->vmsa->rip = STEP_REPORTED;
		return false;
	}
	g->vmsa->rip = STEP_SEND;
	return false;
}

bool guest_send(struct guest *g)
{
	guest_message(g, current_request(g), vmpck(g), STEP_ANSWERED);
	return true;
}

static void wipe(struct guest *g)
{
	g->state->wiped |= BIT(vmpck(g));
	g->state->wiping = true;
}

static void over(struct guest *g)
{
	struct guest_state *st = g->state;

	st->busy = false;
	st->busy_us = 0;
	st->requests++;
}

/* As Linux does (snp_send_guest_request()), if the script says so. */
static char take(struct guest *g, u32 info_1, u64 answer)
{
	const struct guest_script *s = g->script;
	struct guest_state *st = g->state;

	if (!info_1 && !answer) {
		st->seqno[vmpck(g)] += 2;
		over(g);
		return '.';
	}
	if (!info_1 && upper_32_bits(answer) == SNP_GUEST_VMM_ERR_BUSY) {
		st->busy = true;
		st->wait_us = s->retry_us;
		if (s->give_up_us && st->busy_us >= s->give_up_us) {
			wipe(g);
			over(g);
		}
		return 'B';
	}
	if (s->wipe_on_error)
		wipe(g);
	over(g);
	return !info_1 && answer == INVALID_PARAM ? 'I' : 'E';
}

static void report(struct guest *g, char letter)
{
	guest_outb(g, DEBUG_PORT + VCPU(g), letter, STEP_REPORTED);
}

bool guest_answered(struct guest *g)
{
	struct ghcb *ghcb = guest_shared(g, GPA(g, PAGE_GHCB));

	/* a page that is there stays: nothing can unmap it before VMRUN has returned */
	if (ghcb)
		report(g, take(g, lower_32_bits(ghcb->save.sw_exit_info_1),
			       ghcb->save.sw_exit_info_2));
	return true;
}

bool guest_reported(struct guest *g)
{
	struct guest_state *st = g->state;

	if (st->wiping) {
		if (guest_shared(g, GPA(g, PAGE_GHCB))) {
			report(g, 'W');
			st->wiping = false;
		}
		return true;
	}
	if (g->script->count && st->requests >= g->script->count) {
		if (g->script->spins)
			g->vmsa->rip = STEP_SPIN;
		else
			guest_end(g, END_OF_SCRIPT);
		return !g->script->spins;
	}
	g->vmsa->rip = STEP_IDLE;
	return false;
}
