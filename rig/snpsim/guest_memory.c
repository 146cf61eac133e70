// SPDX-License-Identifier: GPL-2.0
/*
 * A guest's memory, reached as its CPU would: through the nested page tables.
 * Where they have nothing, the access causes a #NPF, on which KVM asks
 * guest_memfd or the VMM for the page.
 */
#include "guest.h"

#include <linux/compiler.h>

#define NPF_WRITE	BIT_ULL(1)
#define NPF_USER	BIT_ULL(2)	/* always set: nested walks are the user's */
#define NPF_FINAL	BIT_ULL(32)	/* on the guest's page, not on its page tables */
#define NPF_ENCRYPTED	BIT_ULL(34)	/* the C bit */

#define ADDRESS		GENMASK_ULL(51, 12)

static unsigned int shift_of(int level)
{
	return PAGE_SHIFT + 9 * (level - 1);
}

/* The page's address, or NULL if it is not mapped or not writable. */
static void *walk(u64 table, u64 gpa, bool write)
{
	int level;

	for (level = pgtable_l5_enabled() ? 5 : 4; level > 0; level--) {
		u64 *entries = __va(table & ADDRESS);
		u64 entry = READ_ONCE(entries[gpa >> shift_of(level) & 511]);

		if (!(entry & _PAGE_PRESENT) || (write && !(entry & _PAGE_RW)))
			return NULL;
		if (level == 1 || entry & _PAGE_PSE) {
			u64 offset = BIT_ULL(shift_of(level)) - 1;

			return __va((entry & ADDRESS & ~offset) | (gpa & offset));
		}
		table = entry;
	}
	return NULL;
}

static void *access(struct guest *g, u64 gpa, bool write, u64 error)
{
	void *page = walk(g->vmcb->nested_cr3, gpa, write);

	if (!page) {
		g->vmcb->exit_code = SVM_EXIT_NPF;
		g->vmcb->exit_info_1 = NPF_FINAL | NPF_USER | error | (write ? NPF_WRITE : 0);
		g->vmcb->exit_info_2 = gpa;
	}
	return page;
}

void *guest_private(struct guest *g, u64 gpa, bool write)
{
	return access(g, gpa, write, NPF_ENCRYPTED);
}

void *guest_shared(struct guest *g, u64 gpa)
{
	return access(g, gpa, true, 0);
}
