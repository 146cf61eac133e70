// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/module/guestreq_gate/parameters. kernel_param_lock() serialises reads and
 * writes, which can happen before the module's init ends and after its exit begins.
 *
 * File modes only restrict the uid, and unprivileged containers also run as uid 0.
 * So parameters that change or reveal something also check a capability of the
 * reader or writer at that moment.
 */
#include "gate.h"

#include <linux/capability.h>
#include <linux/kernel.h>
#include <linux/kstrtox.h>
#include <linux/module.h>
#include <linux/sysfs.h>

/*
 * At load time the loader sets parameters, and may have only CAP_SYS_MODULE, like
 * systemd's and udev's loaders.
 */
int param_may_set(const struct kernel_param *kp)
{
	bool loading = kp->mod && kp->mod->state == MODULE_STATE_COMING;

	return capable(loading ? CAP_SYS_MODULE : CAP_SYS_ADMIN) ? 0 : -EPERM;
}

/* Module loading requires a set function. */
int param_no_set(const char *val, const struct kernel_param *kp)
{
	return -EPERM;
}

static int closed_set(const char *val, const struct kernel_param *kp)
{
	bool closed;
	int ret = param_may_set(kp) ?: kstrtobool(val ?: "1", &closed);

	if (!ret)
		WRITE_ONCE(gate_closed, closed);	/* against ask_request() */
	return ret;
}

static const struct kernel_param_ops closed_ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,	/* "closed" alone means closed=Y */
	.set = closed_set,
	.get = param_get_bool,
};
module_param_cb(closed, &closed_ops, &gate_closed, 0600);
__MODULE_PARM_TYPE(closed, "bool");
MODULE_PARM_DESC(closed, "refuse requests that no LSM program answers (default: admit them)");

static int protocol_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%u\n", *(unsigned int *)kp->arg);
}

static unsigned int protocol_oldest = GUESTREQ_GATE_PROTOCOL_OLDEST;
static unsigned int protocol_newest = GUESTREQ_GATE_PROTOCOL;
static const struct kernel_param_ops protocol_ops = { .set = param_no_set, .get = protocol_get };
module_param_cb(protocol, &protocol_ops, &protocol_oldest, 0444);
MODULE_PARM_DESC(protocol, "oldest version of the LSM program protocol that it serves (read only)");
module_param_cb(protocol_newest, &protocol_ops, &protocol_newest, 0444);
MODULE_PARM_DESC(protocol_newest, "newest version of it (read only)");

/* A kernel address, so require the same capability as /proc/kallsyms. */
static int file_get(char *buf, const struct kernel_param *kp)
{
	if (!capable(CAP_SYSLOG))
		return -EPERM;
	return sysfs_emit(buf, "0x%lx\n", ask_file());
}

static const struct kernel_param_ops file_ops = { .set = param_no_set, .get = file_get };
module_param_cb(file, &file_ops, NULL, 0400);
MODULE_PARM_DESC(file, "address of the file that identifies the gate (read only)");

static int cookie_get(char *buf, const struct kernel_param *kp)
{
	if (!capable(CAP_SYSLOG))
		return -EPERM;
	return sysfs_emit(buf, "0x%llx\n", ask_cookie());
}

static const struct kernel_param_ops cookie_ops = { .set = param_no_set, .get = cookie_get };
module_param_cb(cookie, &cookie_ops, NULL, 0400);
MODULE_PARM_DESC(cookie, "random number in each question (read only)");

static int count_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%lld\n", atomic64_read(kp->arg));
}

static const struct kernel_param_ops count_ops = { .set = param_no_set, .get = count_get };
module_param_cb(admitted, &count_ops, &gate_counts.admitted, 0400);
MODULE_PARM_DESC(admitted, "admitted requests (read only)");
module_param_cb(denied, &count_ops, &gate_counts.denied, 0400);
MODULE_PARM_DESC(denied, "denied requests (read only)");
module_param_cb(busy, &count_ops, &gate_counts.busy, 0400);
MODULE_PARM_DESC(busy, "requests answered with BUSY (read only)");
module_param_cb(unanswered, &count_ops, &gate_counts.unanswered, 0400);
MODULE_PARM_DESC(unanswered, "unanswered requests (read only)");

/*
 * The last self-test; none while the nonce is 0. It calls every LSM, so it requires
 * the capability to load programs that could answer.
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
		return -EINVAL;		/* means a guest request */
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
MODULE_PARM_DESC(self_test, "write a number to run a self-test, read it back with the answer");
