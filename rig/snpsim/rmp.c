// SPDX-License-Identifier: GPL-2.0
/*
 * The RMP: rmp_make_private() and rmp_make_shared() always succeed. Both are
 * built into the kernel, so this depends on no module and is permanent.
 */
#include "snpsim.h"

#include <linux/ftrace.h>
#include <linux/kernel.h>
#include <linux/string.h>

static notrace int rmp_success(void)
{
	return 0;
}

static void notrace rmp_redirect(unsigned long ip, unsigned long parent_ip,
				 struct ftrace_ops *op, struct ftrace_regs *fregs)
{
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)rmp_success);
}

static struct ftrace_ops rmp_ops = {
	.func = rmp_redirect,
	.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_IPMODIFY,
};

int rmp_hook(void)
{
	static const char * const names[] = { "rmp_make_private", "rmp_make_shared" };
	int i, ret;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		ret = ftrace_set_filter(&rmp_ops, (unsigned char *)names[i],
					strlen(names[i]), 0);
		if (ret)
			goto free_filter;
	}
	ret = register_ftrace_function(&rmp_ops);
	if (ret)
		goto free_filter;
	return 0;

free_filter:
	ftrace_free_filter(&rmp_ops);
	return ret;
}

void rmp_unhook(void)
{
	unregister_ftrace_function(&rmp_ops);
	ftrace_free_filter(&rmp_ops);
}
