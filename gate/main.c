// SPDX-License-Identifier: GPL-2.0
/*
 * guestreq_gate - let a BPF LSM program decide on SEV-SNP guest requests
 *
 * Calls security_file_ioctl() before KVM passes a guest request to ccp. See
 * guestreq_gate.h for the protocol, gate.h for the source files.
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
	order_init();
	ret = order_list_create();
	if (ret)
		goto fini;
	ret = hook_install();		/* last: requests arrive from here on */
	if (ret)
		goto remove;
	return 0;

remove:
	order_list_remove();
fini:
	order_fini();
	busy_unwatch();
close:
	ask_close();
	return ret;
}

/* In reverse order, so that no request meets a part that was torn down. */
static void __exit gate_exit(void)
{
	hook_remove();
	order_list_remove();
	order_fini();
	busy_unwatch();
	ask_close();
}

module_init(gate_init);
module_exit(gate_exit);

MODULE_DESCRIPTION("Lets a BPF LSM program decide on SEV-SNP guest requests");
MODULE_AUTHOR("guestreq developers");
MODULE_VERSION("0.1.0");
MODULE_LICENSE("GPL");
