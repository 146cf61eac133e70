// SPDX-License-Identifier: GPL-2.0
/*
 * The RMP: rmp_make_private() and rmp_make_shared() always succeed, and no page
 * is ever assigned to a guest. KVM asks for that before it measures a page, and
 * fails if it gets no answer. The RMP does not remember: KVM makes a dead
 * guest's pages shared only where CC_ATTR_HOST_SEV_SNP is set, which it is not
 * here, so pages would stay assigned forever.
 *
 * All are built into the kernel, so this depends on no module and is permanent.
 */
#include "snpsim.h"

#include <linux/container_of.h>
#include <linux/ftrace.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <asm/pgtable_types.h>

static notrace int rmp_success(void)
{
	return 0;
}

static notrace int rmp_unassigned(u64 pfn, bool *assigned, int *level)
{
	*assigned = false;
	*level = PG_LEVEL_4K;
	return 0;
}

struct replaced {
	struct ftrace_ops ops;
	const char *name;
	void *by;
};

static void notrace rmp_redirect(unsigned long ip, unsigned long parent_ip,
				 struct ftrace_ops *op, struct ftrace_regs *fregs)
{
	const struct replaced *function = container_of(op, struct replaced, ops);

	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)function->by);
}

#define REPLACE(function, with) {						\
	.ops = {								\
		.func = rmp_redirect,						\
		.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_IPMODIFY,	\
	},									\
	.name = function,							\
	.by = with,								\
}

static struct replaced functions[] = {
	REPLACE("rmp_make_private", rmp_success),
	REPLACE("rmp_make_shared", rmp_success),
	REPLACE("snp_lookup_rmpentry", rmp_unassigned),
};

static int replace(struct replaced *function)
{
	int ret = ftrace_set_filter(&function->ops, (unsigned char *)function->name,
				    strlen(function->name), 0);

	if (!ret)
		ret = register_ftrace_function(&function->ops);
	if (ret)
		ftrace_free_filter(&function->ops);
	return ret;
}

static void restore(struct replaced *function)
{
	unregister_ftrace_function(&function->ops);
	ftrace_free_filter(&function->ops);
}

int rmp_hook(void)
{
	int i, ret;

	for (i = 0; i < ARRAY_SIZE(functions); i++) {
		ret = replace(&functions[i]);
		if (ret)
			goto restore;
	}
	return 0;

restore:
	while (i--)
		restore(&functions[i]);
	return ret;
}

void rmp_unhook(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(functions); i++)
		restore(&functions[i]);
}
