// SPDX-License-Identifier: GPL-2.0
/*
 * A live patch of the function that the gate hooks, as a distribution might
 * ship. The kernel lets only one redirect a function; tests check the other's
 * error.
 */
#include <linux/errno.h>
#include <linux/fs.h>
#include <linux/kconfig.h>
#include <linux/livepatch.h>
#include <linux/module.h>

/* Returns what ccp does without a PSP, and sends nothing. */
static int rig_issue_cmd(struct file *filep, unsigned int cmd, void *data,
			 int *error)
{
	return -ENODEV;
}

static struct klp_func funcs[] = {
	{
		.old_name = "sev_issue_cmd_external_user",
		.new_func = rig_issue_cmd,
	},
	{ }
};

static struct klp_object objects[] = {
	{
		/* none: the kernel itself */
		.name = IS_BUILTIN(CONFIG_CRYPTO_DEV_CCP_DD) ? NULL : "ccp",
		.funcs = funcs,
	},
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objects,
};

static int __init rig_livepatch_init(void)
{
	return klp_enable_patch(&patch);
}

/*
 * A live patch must be disabled through sysfs before its module can be removed.
 */
static void __exit rig_livepatch_exit(void)
{
}

module_init(rig_livepatch_init);
module_exit(rig_livepatch_exit);
MODULE_DESCRIPTION("Live patch of sev_issue_cmd_external_user, for guestreq's tests");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
