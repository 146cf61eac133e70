// SPDX-License-Identifier: GPL-2.0
/*
 * guestreq_gate - let a BPF LSM program decide on SEV-SNP guest requests
 *
 * Stands between KVM and the ccp driver, and asks security_file_ioctl() before
 * each guest request: see guestreq_gate.h for the protocol, gate.h for the parts.
 */
#include "gate.h"

#include <linux/module.h>

static int __init gate_init(void)
{
	int ret;

	ret = ask_open();
	if (ret)
		return ret;
	ret = busy_watch();
	if (ret)
		goto close;
	ret = hook_install();		/* last: from here on requests come */
	if (ret)
		goto unwatch;
	return 0;

unwatch:
	busy_unwatch();
close:
	ask_close();
	return ret;
}

/* In this order no request uses a part that is already removed. */
static void __exit gate_exit(void)
{
	hook_remove();
	busy_unwatch();
	ask_close();
}

module_init(gate_init);
module_exit(gate_exit);

MODULE_DESCRIPTION("Puts SEV-SNP guest requests before the file_ioctl LSM hook");
MODULE_AUTHOR("guestreq developers");
MODULE_VERSION("0.1.0");
MODULE_LICENSE("GPL");
