// SPDX-License-Identifier: GPL-2.0
/*
 * KVM passes each guest request to sev_issue_cmd_external_user() of the ccp driver.
 * An ftrace handler redirects the call to gate_issue_cmd(), which asks, and calls
 * the real function if the request is admitted.
 */
#include "gate.h"

#include <linux/delay.h>
#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/rcupdate.h>

#ifndef CONFIG_DYNAMIC_FTRACE_WITH_REGS
#error "the gate needs CONFIG_DYNAMIC_FTRACE_WITH_REGS"
#endif

/*
 * Tasks between gate_hook() and the end of gate_issue_cmd(), where they may sleep
 * for as long as the PSP takes. The decrement releases, hook_remove() acquires: at
 * zero, all their effects are visible.
 */
static atomic_t callers = ATOMIC_INIT(0);

static int refuse(int *error, int status)
{
	if (error)
		*error = status;
	return -EIO;	/* what ccp returns for a firmware error */
}

/* Replaces sev_issue_cmd_external_user() for KVM's thread. */
static noinline int gate_issue_cmd(struct file *filp, unsigned int cmd, void *data, int *error)
{
	enum decision decision = ADMIT;
	int ret;

	if (cmd == SEV_CMD_SNP_GUEST_REQUEST)
		decision = ask_request(data);

	switch (decision) {
	case DENY:
		ret = refuse(error, SEV_RET_INVALID_PARAM);
		break;
	case BUSY:
		busy_expect();
		ret = refuse(error, GATE_BUSY_MAGIC);
		break;
	default:
		ret = sev_issue_cmd_external_user(filp, cmd, data, error);
		/*
		 * gate_hook() recognises this call by its return address. A tail
		 * call would hide it and cause endless recursion.
		 */
		barrier();
	}
	/* Must be last: from here on only synchronize_rcu_tasks() keeps the module. */
	atomic_dec_return_release(&callers);
	return ret;
}

/* Called by ftrace at the function's entry; must not sleep or be traced. */
static void notrace gate_hook(unsigned long ip, unsigned long parent_ip,
			      struct ftrace_ops *op, struct ftrace_regs *fregs)
{
	if (within_module(parent_ip, THIS_MODULE))
		return;		/* the gate's own call */
	/* Count here, because unregistering waits only for this function. */
	atomic_inc(&callers);
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)gate_issue_cmd);
}

/*
 * IPMODIFY: nobody else, such as a live patch, may redirect the function.
 * PERMANENT: refuse kernel.ftrace_enabled=0, which would disable the hook.
 * RECURSION: gate_hook() calls nothing traceable.
 */
static struct ftrace_ops gate_ops = {
	.func = gate_hook,
	.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_IPMODIFY |
		 FTRACE_OPS_FL_PERMANENT | FTRACE_OPS_FL_RECURSION,
};

/*
 * By address, because a name could match another module's static function. It is
 * the function that gate_issue_cmd() calls; linking to it checked its type and
 * pins ccp.
 */
int hook_install(void)
{
	int ret = ftrace_set_filter_ip(&gate_ops, (unsigned long)sev_issue_cmd_external_user,
				       0, 0);

	if (ret) {
		pr_err("sev_issue_cmd_external_user cannot be traced: %d\n", ret);
		return ret;
	}
	ret = register_ftrace_function(&gate_ops);
	if (!ret)
		return 0;
	ftrace_free_filter(&gate_ops);
	if (ret == -EBUSY)
		pr_err("sev_issue_cmd_external_user is redirected by another, a live patch?\n");
	else
		pr_err("cannot hook sev_issue_cmd_external_user: %d\n", ret);
	return ret;
}

/*
 * Returns when no task executes or will execute gate_hook() or gate_issue_cmd().
 * New requests go straight to ccp.
 */
void hook_remove(void)
{
	/* Waits for running gate_hook(), because the ops belong to a module. */
	unregister_ftrace_function(&gate_ops);
	ftrace_free_filter(&gate_ops);
	/* Callers can only decrease now; a request takes as long as the PSP's queue. */
	while (atomic_read_acquire(&callers))
		msleep(20);
	/* The last caller may be preempted before its return. */
	synchronize_rcu_tasks();
}
