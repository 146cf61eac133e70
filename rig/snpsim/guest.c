// SPDX-License-Identifier: GPL-2.0
/*
 * A guest of a real VMM, such as QEMU: what its code would do if any ran. VMRUN
 * of a vCPU that no snpload drives gets here (kvm.c).
 *
 * It is a state machine. Its steps are in the table steps[]; the vCPU's VMSA
 * holds the current one as its instruction pointer, and a page of the guest's
 * memory the rest. So each VM has its own, and a new VM starts from zero.
 *
 * What it does is in its firmware image (guest-script.h). It negotiates the GHCB
 * protocol, shares four pages, registers its GHCB, sets its APIC's timer and starts
 * its second vCPU, as a kernel would. Then it halts. At each interrupt of the timer it sends a guest
 * request, and writes the answer to the VMM's debug port as one letter:
 *   .  success
 *   B  BUSY: the same message follows, with the same sequence number
 *   I  INVALID_PARAM
 *   E  another error
 *   W  after the letter of the last answer: its VMPCK is wiped and used no more
 * The second vCPU does the same with its own pages, VMPCKs and port.
 */
#include "guest.h"
#include "snpsim.h"

#include <linux/array_size.h>
#include <linux/string.h>

#define RESET_RIP	0xfff0		/* as KVM leaves it */

/* A triple fault: after its end it should never run again. */
static bool fault(struct guest *g)
{
	g->vmcb->exit_code = SVM_EXIT_SHUTDOWN;
	return true;
}

/* As a loop does that the host interrupts: it never leaves by itself. */
static bool spin(struct guest *g)
{
	g->vmcb->exit_code = SVM_EXIT_INTR;
	return true;
}

static bool is_script(const struct guest_script *s)
{
	return !memcmp(s->magic, GUEST_SCRIPT_MAGIC, sizeof(s->magic));
}

/* The script, or what is in its place; NULL if reading it caused a #NPF. */
static const struct guest_script *find_script(struct guest *g)
{
	const struct guest_script *s = guest_private(g, GUEST_SCRIPT_GPA, false);

	if (s && !is_script(s))
		return guest_private(g, GUEST_SCRIPT_OVMF_GPA, false);
	return s;
}

/* Checked before each run: the VMM can replace the guest's pages by empty ones. */
static bool can_follow(const struct guest_script *s)
{
	return is_script(s) && s->version == GUEST_SCRIPT_VERSION && s->interval_us &&
	       s->requests && s->requests <= GUEST_SCRIPT_REQUESTS;
}

static bool (* const steps[])(struct guest *g) = {
	[STEP_START]		= guest_start,		/* speak first */
	[STEP_NEGOTIATED]	= guest_negotiated,	/* check the answer, ask the next */
	[STEP_SHARE]		= guest_share,		/* by the GHCB, if the script says so */
	[STEP_SHARED]		= guest_shared_pages,	/* check the answer */
	[STEP_SET_TIMER]	= guest_set_timer,	/* write one of its registers */
	[STEP_TIMER_SET]	= guest_timer_set,	/* check */
	[STEP_START_OTHER]	= guest_start_other,	/* the second vCPU, if it has one */
	[STEP_OTHER_STARTED]	= guest_other_started,	/* check the answer */
	[STEP_WAKE_OTHER]	= guest_wake_other,	/* by INIT, then by SIPI */
	[STEP_OTHER_WOKEN]	= guest_other_woken,	/* check; at last enable interrupts */
	[STEP_IDLE]		= guest_idle,		/* halt, or acknowledge an interrupt */
	[STEP_TICK]		= guest_tick,		/* is it time for a request? */
	[STEP_SEND]		= guest_send,		/* send it */
	[STEP_ANSWERED]		= guest_answered,	/* take the answer, write its letter */
	[STEP_REPORTED]		= guest_reported,	/* write a W, end, or idle */
	[STEP_SPIN]		= spin,			/* a loop, until the host interrupts it */
	[STEP_ENDED]		= fault,
};

void guest_run(struct vmcb_control_area *vmcb)
{
	struct guest g = { .vmcb = vmcb, .vmsa = __va(vmcb->vmsa_pa) };

	vmcb->exit_info_1 = 0;
	vmcb->exit_info_2 = 0;
	vmcb->exit_int_info = 0;
	/* an interrupt is delivered before the first instruction */
	if (vmcb->event_inj & SVM_EVTINJ_VALID) {
		vmcb->event_inj = 0;
		IN_SERVICE(&g) = true;
	}
	if (g.vmsa->rip == RESET_RIP)
		g.vmsa->rip = STEP_START;

	g.script = find_script(&g);
	if (!g.script)
		return;
	if (!can_follow(g.script)) {
		if (g.vmsa->rip == STEP_START)
			guest_end(&g, END_NO_SCRIPT);
		else
			fault(&g);
		return;
	}
	g.state = guest_private(&g, GPA(&g, PAGE_STATE), true);
	if (!g.state)
		return;
	while (!(g.vmsa->rip < ARRAY_SIZE(steps) ? steps[g.vmsa->rip] : fault)(&g))
		;
}
