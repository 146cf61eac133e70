// SPDX-License-Identifier: GPL-2.0
/*
 * The gate in /sys/module/guestreq_gate/parameters. Readers and writers of a
 * module's parameters are serialised by kernel_param_lock(). They may come
 * before the module's init is done and after its exit has begun.
 *
 * A file's mode excludes every uid but 0, which containers without any
 * capability have, too. So reading secrets and changing something also require
 * a capability of the calling task.
 */
#include "gate.h"

#include <linux/capability.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/sysfs.h>

/*
 * When the module is loaded, its loader sets this, which may have no other
 * capability (as systemd's and udev's).
 */
static int closed_set(const char *val, const struct kernel_param *kp)
{
	bool loading = kp->mod && kp->mod->state == MODULE_STATE_COMING;

	if (!capable(loading ? CAP_SYS_MODULE : CAP_SYS_ADMIN))
		return -EPERM;
	return param_set_bool(val, kp);
}

static const struct kernel_param_ops closed_ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,	/* "closed" alone means closed=Y */
	.set = closed_set,
	.get = param_get_bool,
};
module_param_cb(closed, &closed_ops, &gate_closed, 0600);
__MODULE_PARM_TYPE(closed, "bool");
MODULE_PARM_DESC(closed, "refuse requests that no LSM program answers for (default: let them pass)");

/* The kernel requires it when a module is loaded. */
static int no_set(const char *val, const struct kernel_param *kp)
{
	return -EPERM;
}

static int protocol_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%d\n", GUESTREQ_GATE_PROTOCOL);
}

static const struct kernel_param_ops protocol_ops = { .set = no_set, .get = protocol_get };
module_param_cb(protocol, &protocol_ops, NULL, 0444);
MODULE_PARM_DESC(protocol, "version of the protocol with the LSM program (read only)");

/* A kernel address, so it needs the same capability as /proc/kallsyms. */
static int file_get(char *buf, const struct kernel_param *kp)
{
	if (!capable(CAP_SYSLOG))
		return -EPERM;
	return sysfs_emit(buf, "0x%lx\n", ask_file());
}

static const struct kernel_param_ops file_ops = { .set = no_set, .get = file_get };
module_param_cb(file, &file_ops, NULL, 0400);
MODULE_PARM_DESC(file, "address of the file by which a program knows the gate (read only)");

static int cookie_get(char *buf, const struct kernel_param *kp)
{
	if (!capable(CAP_SYSLOG))
		return -EPERM;
	return sysfs_emit(buf, "0x%llx\n", ask_cookie());
}

static const struct kernel_param_ops cookie_ops = { .set = no_set, .get = cookie_get };
module_param_cb(cookie, &cookie_ops, NULL, 0400);
MODULE_PARM_DESC(cookie, "the number that the gate puts into each question (read only)");

static int count_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%lld\n", atomic64_read(kp->arg));
}

static const struct kernel_param_ops count_ops = { .set = no_set, .get = count_get };
module_param_cb(admitted, &count_ops, &gate_counts.admitted, 0400);
MODULE_PARM_DESC(admitted, "requests that a program admitted (read only)");
module_param_cb(denied, &count_ops, &gate_counts.denied, 0400);
MODULE_PARM_DESC(denied, "requests that a program denied (read only)");
module_param_cb(busy, &count_ops, &gate_counts.busy, 0400);
MODULE_PARM_DESC(busy, "requests that a program put off (read only)");
module_param_cb(unanswered, &count_ops, &gate_counts.unanswered, 0400);
MODULE_PARM_DESC(unanswered, "requests that nobody answered for (read only)");

/*
 * The last self-test, none while the nonce is 0. Needs the capability to load
 * programs that could answer, as it asks every LSM.
 */
static u64 test_nonce;
static enum decision test_decision;

static int self_test_set(const char *val, const struct kernel_param *kp)
{
	enum decision decision;
	u64 nonce;
	int ret;

	if (!bpf_capable())
		return -EPERM;
	ret = kstrtou64(val, 0, &nonce);
	if (ret)
		return ret;
	if (!nonce)
		return -EINVAL;		/* that would be a guest's request */
	ret = ask_test(nonce, &decision);
	if (ret)
		return ret;
	test_nonce = nonce;
	test_decision = decision;
	return 0;
}

static int self_test_get(char *buf, const struct kernel_param *kp)
{
	static const char * const names[] = {
		[ADMIT] = "admit", [DENY] = "deny", [BUSY] = "busy", [UNANSWERED] = "unanswered",
	};

	if (!bpf_capable())
		return -EPERM;
	if (!test_nonce)
		return sysfs_emit(buf, "none\n");
	return sysfs_emit(buf, "%llu %s\n", test_nonce, names[test_decision]);
}

static const struct kernel_param_ops self_test_ops = {
	.set = self_test_set,
	.get = self_test_get,
};
module_param_cb(self_test, &self_test_ops, NULL, 0600);
MODULE_PARM_DESC(self_test, "write a number to ask about no request, read it with the answer");
