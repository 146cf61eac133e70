// SPDX-License-Identifier: GPL-2.0
/*
 * KVM passes each guest request to sev_issue_cmd_external_user() of the ccp driver.
 * An ftrace handler redirects the call to gate_issue_cmd(), which asks, and calls
 * the real function if the request is admitted, in order.
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

/*
 * gate_hook() recognises this call by its return address. A tail call would hide
 * it and cause endless recursion.
 */
static int issue(struct file *filp, unsigned int cmd, void *data, int *error)
{
	int ret = sev_issue_cmd_external_user(filp, cmd, data, error);

	barrier();
	return ret;
}

static int issue_request(struct file *filp, unsigned int cmd, void *data, int *error)
{
	const struct sev_data_snp_guest_request *req = data;
	struct order_request request;
	unsigned int weight;
	int ret;

	switch (ask_request(req, &weight)) {
	case DENY:
		return refuse(error, SEV_RET_INVALID_PARAM);
	case BUSY:
		busy_expect();
		return refuse(error, GATE_BUSY_MAGIC);
	default:
		ret = order_enter(&request, req->gctx_paddr, weight);
		if (ret)
			return ret;	/* killed: KVM_RUN fails, and nobody sees it */
		ret = issue(filp, cmd, data, error);
		order_leave(&request);
		return ret;
	}
}

/* The commands of a launch that KVM issues through the hooked function. */
static bool is_launch_cmd(unsigned int cmd)
{
	return cmd == SEV_CMD_SNP_GCTX_CREATE || cmd == SEV_CMD_SNP_ACTIVATE ||
	       cmd == SEV_CMD_SNP_LAUNCH_START || cmd == SEV_CMD_SNP_LAUNCH_UPDATE ||
	       cmd == SEV_CMD_SNP_LAUNCH_FINISH;
}

static_assert(offsetof(struct sev_data_snp_addr, address) == 0);	/* GCTX_CREATE's */
static_assert(offsetof(struct sev_data_snp_activate, gctx_paddr) == 0);
static_assert(offsetof(struct sev_data_snp_launch_start, gctx_paddr) == 0);
static_assert(offsetof(struct sev_data_snp_launch_update, gctx_paddr) == 0);
static_assert(offsetof(struct sev_data_snp_launch_finish, gctx_paddr) == 0);

static int issue_launch_cmd(struct file *filp, unsigned int cmd, void *data, int *error)
{
	u64 gctx = *(u64 *)data;	/* the first member of all of them */
	int ret;

	order_launch_enter(gctx);
	ret = issue(filp, cmd, data, error);
	order_launch_leave(gctx, ret || cmd == SEV_CMD_SNP_LAUNCH_FINISH);
	return ret;
}

/* Replaces sev_issue_cmd_external_user() for KVM's thread. */
static noinline int gate_issue_cmd(struct file *filp, unsigned int cmd, void *data, int *error)
{
	int ret;

	if (cmd == SEV_CMD_SNP_GUEST_REQUEST)
		ret = issue_request(filp, cmd, data, error);
	else if (is_launch_cmd(cmd))
		ret = issue_launch_cmd(filp, cmd, data, error);
	else
		ret = issue(filp, cmd, data, error);
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
	order_open();
	/* Callers can only decrease now; a request takes as long as the PSP's queue. */
	while (atomic_read_acquire(&callers))
		msleep(20);
	/* The last caller may be preempted before its return. */
	synchronize_rcu_tasks();
}
