// SPDX-License-Identifier: GPL-2.0
/*
 * How a guest starts: GHCB protocol, shared pages, its GHCB, its APIC's timer.
 */
#include "guest.h"

#include <linux/array_size.h>
#include <asm/apicdef.h>
#include <asm/msr-index.h>
#include <asm/sev-common.h>

#define TIMER_VECTOR	0x40

#define SHARED		2ULL
#define SHARE(page)							\
	{ SHARED << 52 | GHCB_MSR_PSC_REQ, GHCB_MSR_PSC_RESP,		\
	  GENMASK_ULL(63, 32) | GHCB_MSR_INFO_MASK, page }

/* The GHCB precedes the pages that can be shared by it. */
static const struct {
	u64 request;
	u64 answer;
	u64 mask;		/* of the bits that the answer must have */
	enum guest_page page;	/* whose address is in the request, unless it is 0 */
} negotiation[] = {
	{ GHCB_MSR_SEV_INFO_REQ, GHCB_MSR_SEV_INFO_RESP, GHCB_MSR_INFO_MASK },
	SHARE(PAGE_GHCB),
	{ GHCB_MSR_REG_GPA_REQ, GHCB_MSR_REG_GPA_RESP, GHCB_MSR_INFO_MASK, PAGE_GHCB },
	SHARE(PAGE_REQUEST),
	SHARE(PAGE_RESPONSE),
	SHARE(PAGE_CERTIFICATES),
};

/* The rows that remain if pages are shared by the GHCB. */
#define WITHOUT_SHARES	3

#define X2APIC_ENABLE	BIT(10)

static const struct {
	u32 msr;
	u32 value;		/* 0: the script's interval; KVM's APIC counts ns */
} timer[] = {
	{ MSR_IA32_APICBASE, APIC_DEFAULT_PHYS_BASE | MSR_IA32_APICBASE_ENABLE |
			     X2APIC_ENABLE },	/* and BSP, of the first one */
	{ X2APIC(APIC_SPIV), APIC_SPIV_APIC_ENABLED | 0xff },
	{ X2APIC(APIC_TDCR), APIC_TDR_DIV_1 },
	{ X2APIC(APIC_LVTT), APIC_LVT_TIMER_PERIODIC | TIMER_VECTOR },
	{ X2APIC(APIC_TMICT), 0 },
};

/* The second vCPU, by its APIC's id, and what it waits for. */
#define OTHER		1ULL
static const u32 wake[] = { APIC_DM_INIT | APIC_INT_ASSERT, APIC_DM_STARTUP | 1 };

void guest_end(struct guest *g, enum end why)
{
	guest_msr_protocol(g, GHCB_MSR_TERM_REQ | GHCB_SEV_TERM_REASON(1, why), STEP_ENDED);
}

bool guest_start(struct guest *g)
{
	guest_msr_protocol(g, negotiation[0].request, STEP_NEGOTIATED);
	return true;
}

static u64 page_of(struct guest *g, u32 row)
{
	return negotiation[row].page ? GPA(g, negotiation[row].page) : 0;
}

bool guest_negotiated(struct guest *g)
{
	struct guest_state *st = g->state;

	if ((g->vmcb->ghcb_gpa & negotiation[st->row].mask) != negotiation[st->row].answer) {
		guest_end(g, END_NEGOTIATION);
		return true;
	}
	if (++st->row < (g->script->shares_by_ghcb ? WITHOUT_SHARES : ARRAY_SIZE(negotiation))) {
		guest_msr_protocol(g, negotiation[st->row].request | page_of(g, st->row),
				   STEP_NEGOTIATED);
		return true;
	}
	st->row = 0;
	g->vmsa->rip = g->script->shares_by_ghcb ? STEP_SHARE : STEP_SET_TIMER;
	return false;
}

bool guest_share(struct guest *g)
{
	guest_share_pages(g, STEP_SHARED);
	return true;
}

bool guest_shared_pages(struct guest *g)
{
	struct ghcb *ghcb = guest_shared(g, GPA(g, PAGE_GHCB));
	const struct psc_hdr *header;

	if (!ghcb)
		return true;
	header = (const void *)ghcb->shared_buffer;
	if (ghcb->save.sw_exit_info_2 || header->cur_entry <= header->end_entry) {
		guest_end(g, END_SHARED);
		return true;
	}
	g->vmsa->rip = STEP_SET_TIMER;
	return false;
}

bool guest_set_timer(struct guest *g)
{
	u32 row = g->state->row;
	u64 value = timer[row].value ?: g->script->interval_us * 1000ULL;

	if (timer[row].msr == MSR_IA32_APICBASE && !VCPU(g))
		value |= MSR_IA32_APICBASE_BSP;

	guest_wrmsr(g, timer[row].msr, value, STEP_TIMER_SET);
	return true;
}

/* Whether the exit is not answered yet, as the GHCB is not there, or ends the guest. */
static bool exit_failed(struct guest *g, enum end why)
{
	struct ghcb *ghcb = guest_shared(g, GPA(g, PAGE_GHCB));

	if (!ghcb)
		return true;
	if (!lower_32_bits(ghcb->save.sw_exit_info_1))
		return false;
	guest_end(g, why);
	return true;
}

bool guest_timer_set(struct guest *g)
{
	if (exit_failed(g, END_TIMER))
		return true;
	if (++g->state->row < ARRAY_SIZE(timer)) {
		g->vmsa->rip = STEP_SET_TIMER;
		return false;
	}
	g->vmsa->rip = STEP_START_OTHER;
	return false;
}

static bool idle(struct guest *g)
{
	g->vmcb->int_state |= SVM_GUEST_INTERRUPT_MASK;		/* STI */
	g->vmsa->rip = STEP_IDLE;
	return false;
}

bool guest_start_other(struct guest *g)
{
	if (VCPU(g) || g->script->vcpus < 2)
		return idle(g);
	guest_create_vcpu(g, OTHER, STEP_OTHER_STARTED);
	return true;
}

bool guest_other_started(struct guest *g)
{
	if (exit_failed(g, END_OTHER))
		return true;
	g->state->row = 0;
	g->vmsa->rip = STEP_WAKE_OTHER;
	return false;
}

bool guest_wake_other(struct guest *g)
{
	guest_wrmsr(g, X2APIC(APIC_ICR), OTHER << 32 | wake[g->state->row], STEP_OTHER_WOKEN);
	return true;
}

bool guest_other_woken(struct guest *g)
{
	if (exit_failed(g, END_OTHER))
		return true;
	if (++g->state->row < ARRAY_SIZE(wake)) {
		g->vmsa->rip = STEP_WAKE_OTHER;
		return false;
	}
	return idle(g);
}
