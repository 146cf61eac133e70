/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest's parts, see guest.c. All of it runs where VMRUN does, with RCU not
 * watching: no tracing and no sleeping.
 */
#ifndef GUEST_H
#define GUEST_H

#include "guest-script.h"

#include <linux/bitops.h>
#include <linux/mm.h>	/* asm/svm.h needs PAGE_SIZE */
#include <linux/types.h>
#include <asm/svm.h>

/* Pages of the guest's memory, of each vCPU its own. All but the first and last are shared. */
enum guest_page {
	PAGE_STATE,
	PAGE_GHCB,
	PAGE_REQUEST,
	PAGE_RESPONSE,
	PAGE_CERTIFICATES,
	PAGE_VMSA,
};

#define GPA_VCPU0		0x100000ULL
#define GPA_VCPU_SIZE		0x10000ULL
#define GPA_OF(vcpu, page)	(GPA_VCPU0 + (vcpu) * GPA_VCPU_SIZE + (u64)(page) * PAGE_SIZE)
#define GPA(g, page)		GPA_OF(VCPU(g), page)

/* The MSR of a register of the local APIC (asm/apicdef.h). */
#define X2APIC(reg)	(APIC_BASE_MSR + ((reg) >> 4))

#define NR_VMPCKS		4

/* What a guest remembers, in its private page, which is zero at first. */
struct guest_state {
	u64 seqno[NR_VMPCKS];	/* messages so far, both ways */
	u32 row;		/* of a table of guest_boot.c */
	u32 requests;		/* that are over */
	u64 busy_us;		/* how long this one has been BUSY */
	u64 wait_us;		/* until it is repeated */
	bool busy;
	bool wiping;		/* to be reported */
	u8 wiped;		/* VMPCKs, a bit each */
};

struct guest {
	struct vmcb_control_area *vmcb;
	struct sev_es_save_area *vmsa;
	const struct guest_script *script;
	struct guest_state *state;
};

enum step {
	STEP_START,
	STEP_NEGOTIATED,
	STEP_SHARE,
	STEP_SHARED,
	STEP_SET_TIMER,
	STEP_TIMER_SET,
	STEP_START_OTHER,
	STEP_OTHER_STARTED,
	STEP_WAKE_OTHER,
	STEP_OTHER_WOKEN,
	STEP_IDLE,
	STEP_TICK,
	STEP_SEND,
	STEP_ANSWERED,
	STEP_REPORTED,
	STEP_SPIN,
	STEP_ENDED,
};

/* Why a guest asks to be terminated: a code of reason set 1. */
enum end { END_OF_SCRIPT, END_NO_SCRIPT, END_NEGOTIATION, END_TIMER, END_SHARED, END_OTHER };

/* Whether it has an interrupt that it has not acknowledged: in a register of its own. */
#define IN_SERVICE(g)	((g)->vmsa->r8)

/* The vCPU's number. The first one's state is the VMM's, and the others' their starter's. */
#define VCPU(g)		((g)->vmsa->r9)

/* guest_memory.c: NULL if the access caused a #NPF */
void *guest_private(struct guest *g, u64 gpa, bool write);
void *guest_shared(struct guest *g, u64 gpa);

/*
 * guest_exits.c: each leaves the guest, which continues with the step next; or, if
 * the GHCB or a message's page causes a #NPF, with the current one again.
 */
void guest_msr_protocol(struct guest *g, u64 value, u64 next);
void guest_halt(struct guest *g, u64 next);
void guest_wrmsr(struct guest *g, u32 msr, u64 value, u64 next);
void guest_outb(struct guest *g, u16 port, u8 value, u64 next);
void guest_message(struct guest *g, const struct guest_request *request, u8 vmpck, u64 next);
void guest_share_pages(struct guest *g, u64 next);
void guest_create_vcpu(struct guest *g, u64 vcpu, u64 next);

/*
 * The steps, see steps[] of guest.c. Each returns whether it left the guest; if
 * not, the next one follows at once.
 */
bool guest_start(struct guest *g);
bool guest_negotiated(struct guest *g);
bool guest_share(struct guest *g);
bool guest_shared_pages(struct guest *g);
bool guest_set_timer(struct guest *g);
bool guest_timer_set(struct guest *g);
bool guest_start_other(struct guest *g);
bool guest_other_started(struct guest *g);
bool guest_wake_other(struct guest *g);
bool guest_other_woken(struct guest *g);
bool guest_idle(struct guest *g);
bool guest_tick(struct guest *g);
bool guest_send(struct guest *g);
bool guest_answered(struct guest *g);
bool guest_reported(struct guest *g);
void guest_end(struct guest *g, enum end why);

#endif
