// SPDX-License-Identifier: GPL-2.0
/*
 * How a guest leaves: by the MSR protocol, by HLT, and by VMGEXITs with a GHCB.
 */
#include "guest.h"

#include <linux/psp-sev.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <asm/sev.h>
#include <asm/sev-common.h>

#define GHCB_VERSION	2

#define MSR_WRITE	1		/* exit_info_1 of SVM_EXIT_MSR */
#define IOIO_BYTE	BIT(4)		/* and of SVM_EXIT_IOIO: an OUT of one byte */
#define IOIO_PORT	16

#define ALGO_AES_256_GCM	1
#define MESSAGE_VERSION		1

void guest_msr_protocol(struct guest *g, u64 value, u64 next)
{
	g->vmcb->ghcb_gpa = value;
	g->vmcb->exit_code = SVM_EXIT_VMGEXIT;
	g->vmsa->rip = next;
}

void guest_halt(struct guest *g, u64 next)
{
	g->vmcb->exit_code = SVM_EXIT_HLT;
	g->vmsa->rip = next;
}

static struct ghcb *new_ghcb(struct guest *g, u64 code, u64 info_1, u64 info_2)
{
	struct ghcb *ghcb = guest_shared(g, GPA(g, PAGE_GHCB));

	if (!ghcb)
		return NULL;
	memset(ghcb, 0, PAGE_SIZE);
	ghcb->protocol_version = GHCB_VERSION;
	ghcb_set_sw_exit_code(ghcb, code);
	ghcb_set_sw_exit_info_1(ghcb, info_1);
	ghcb_set_sw_exit_info_2(ghcb, info_2);
	return ghcb;
}

void guest_wrmsr(struct guest *g, u32 msr, u64 value, u64 next)
{
	struct ghcb *ghcb = new_ghcb(g, SVM_EXIT_MSR, MSR_WRITE, 0);

	if (!ghcb)
		return;
	ghcb_set_rcx(ghcb, msr);
	ghcb_set_rax(ghcb, lower_32_bits(value));
	ghcb_set_rdx(ghcb, upper_32_bits(value));
	guest_msr_protocol(g, GPA(g, PAGE_GHCB), next);
}

void guest_outb(struct guest *g, u16 port, u8 value, u64 next)
{
	struct ghcb *ghcb = new_ghcb(g, SVM_EXIT_IOIO, port << IOIO_PORT | IOIO_BYTE, 0);

	if (!ghcb)
		return;
	ghcb_set_rax(ghcb, value);
	guest_msr_protocol(g, GPA(g, PAGE_GHCB), next);
}

/* A header as a guest's kernel writes it; what follows would be encrypted. */
static void write_message(void *page, const struct guest_request *request, u8 vmpck, u64 seqno)
{
	struct snp_guest_msg_hdr *header = page;

	memset(page, 0, PAGE_SIZE);
	header->msg_seqno = seqno;
	header->algo = ALGO_AES_256_GCM;
	header->hdr_version = MESSAGE_VERSION;
	header->hdr_sz = sizeof(*header);
	header->msg_type = request->type;
	header->msg_version = MESSAGE_VERSION;
	header->msg_sz = sizeof(*header);
	header->msg_vmpck = vmpck;
}

void guest_message(struct guest *g, const struct guest_request *request, u8 vmpck, u64 next)
{
	u64 code = request->extended ? SVM_VMGEXIT_EXT_GUEST_REQUEST : SVM_VMGEXIT_GUEST_REQUEST;
	void *page = guest_shared(g, GPA(g, PAGE_REQUEST));
	struct ghcb *ghcb;

	if (!page)
		return;
	ghcb = new_ghcb(g, code, GPA(g, PAGE_REQUEST), GPA(g, PAGE_RESPONSE));
	if (!ghcb)
		return;
	if (request->extended) {
		ghcb_set_rax(ghcb, GPA(g, PAGE_CERTIFICATES));
		ghcb_set_rbx(ghcb, 1);		/* page */
	}
	write_message(page, request, vmpck, g->state->seqno[vmpck] + 1);
	guest_msr_protocol(g, GPA(g, PAGE_GHCB), next);
}

/* All pages that follow the GHCB, in one request. */
void guest_share_pages(struct guest *g, u64 next)
{
	struct ghcb *ghcb = new_ghcb(g, SVM_VMGEXIT_PSC, 0, 0);
	struct snp_psc_desc *desc;
	unsigned int i;

	if (!ghcb)
		return;
	desc = (void *)ghcb->shared_buffer;
	for (i = 0; i <= PAGE_CERTIFICATES - PAGE_REQUEST; i++) {
		desc->entries[i].gfn = GPA(g, PAGE_REQUEST + i) >> PAGE_SHIFT;
		desc->entries[i].operation = SNP_PAGE_STATE_SHARED;
	}
	desc->hdr.end_entry = i - 1;
	ghcb_set_sw_scratch(ghcb, GPA(g, PAGE_GHCB) + offsetof(struct ghcb, shared_buffer));
	guest_msr_protocol(g, GPA(g, PAGE_GHCB), next);
}

/*
 * By a page with the new vCPU's state, whose rest is zero. It begins there at its
 * next INIT: KVM never runs one that got none.
 */
void guest_create_vcpu(struct guest *g, u64 vcpu, u64 next)
{
	struct sev_es_save_area *vmsa = guest_private(g, GPA_OF(vcpu, PAGE_VMSA), true);
	struct ghcb *ghcb;

	if (!vmsa)
		return;
	ghcb = new_ghcb(g, SVM_VMGEXIT_AP_CREATION, vcpu << 32 | SVM_VMGEXIT_AP_CREATE_ON_INIT,
			GPA_OF(vcpu, PAGE_VMSA));
	if (!ghcb)
		return;
	memset(vmsa, 0, PAGE_SIZE);
	vmsa->rip = STEP_START;
	vmsa->r9 = vcpu;		/* VCPU() */
	vmsa->sev_features = g->vmsa->sev_features;
	ghcb_set_rax(ghcb, vmsa->sev_features);
	guest_msr_protocol(g, GPA(g, PAGE_GHCB), next);
}
