// SPDX-License-Identifier: GPL-2.0
/*
 * The question goes to every LSM of the host. The kernel's credentials and a
 * private anonymous inode keep other LSMs, and the VMM's confinement, from
 * rejecting it.
 */
#include "gate.h"

#include <linux/anon_inodes.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/io.h>
#include <linux/mem_encrypt.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/sched/task.h>
#include <linux/security.h>
#include <linux/string.h>

#ifndef CONFIG_SECURITY
#error "the gate needs CONFIG_SECURITY"
#endif

static_assert(sizeof(struct guestreq_gate_question) == 0x78);

/* Independent counters, so relaxed atomics are exact. */
struct gate_counts gate_counts;

bool gate_closed;

static const struct cred *gate_cred;
static u64 gate_cookie;

/*
 * Protects gate_file against sysfs, where parameters are accessible before
 * ask_open() and after ask_close(). Requests need no lock: the hook exists only
 * in between.
 */
static DEFINE_MUTEX(file_lock);
static struct file *gate_file;

static int put_question(const struct guestreq_gate_question *q)
{
	const struct cred *old = override_creds(gate_cred);
	int ret = security_file_ioctl(gate_file, GUESTREQ_GATE_ASK, (unsigned long)q);

	revert_creds(old);
	return ret;
}

/* With the weight of an admitted request. */
static enum decision decision_of(int answer, unsigned int *weight)
{
	*weight = 1;
	if (answer < GUESTREQ_GATE_ADMIT_WEIGHTED &&
	    answer >= GUESTREQ_GATE_ADMIT_WEIGHTED - GUESTREQ_GATE_MAX_WEIGHT) {
		*weight = GUESTREQ_GATE_ADMIT_WEIGHTED - answer;
		return ADMIT;
	}
	switch (answer) {
	case GUESTREQ_GATE_ADMIT:
		return ADMIT;
	case GUESTREQ_GATE_DENY:
		return DENY;
	case GUESTREQ_GATE_BUSY:
		return BUSY;
	default:
		return UNANSWERED;
	}
}

/* Never returns UNANSWERED: gate_closed resolves it. */
enum decision ask_request(const struct sev_data_snp_guest_request *req, unsigned int *weight)
{
	struct guestreq_gate_question q = {
		.cookie = gate_cookie,
		.gctx_paddr = req->gctx_paddr,
	};
	enum decision decision;

	/* KVM's own copy of the message, which the guest can no longer change */
	memcpy(q.header, __va(__sme_clr(req->req_paddr)), sizeof(q.header));

	decision = decision_of(put_question(&q), weight);
	switch (decision) {
	case ADMIT:
		atomic64_inc(&gate_counts.admitted);
		break;
	case DENY:
		atomic64_inc(&gate_counts.denied);
		break;
	case BUSY:
		atomic64_inc(&gate_counts.busy);
		break;
	case UNANSWERED:
		atomic64_inc(&gate_counts.unanswered);
		decision = READ_ONCE(gate_closed) ? DENY : ADMIT;
		break;
	}
	return decision;
}

int ask_test(u64 nonce, enum decision *decision)
{
	struct guestreq_gate_question q = { .nonce = nonce };
	unsigned int weight;
	int ret = -ENODEV;

	mutex_lock(&file_lock);
	if (gate_file) {
		q.cookie = gate_cookie;
		*decision = decision_of(put_question(&q), &weight);
		ret = 0;
	}
	mutex_unlock(&file_lock);
	return ret;
}

/* For comparison only: must not be dereferenced. */
unsigned long ask_file(void)
{
	return (unsigned long)READ_ONCE(gate_file);
}

u64 ask_cookie(void)
{
	return READ_ONCE(gate_cookie);
}

int ask_open(void)
{
	const struct cred *old;
	struct file *file;
	u64 cookie;

	gate_cred = prepare_kernel_cred(&init_task);
	if (!gate_cred)
		return -ENOMEM;
	/* an uninitialised program compares with 0 */
	do {
		cookie = get_random_u64();
	} while (!cookie);
	WRITE_ONCE(gate_cookie, cookie);	/* against ask_cookie() */

	/*
	 * generic_ro_fops lives in the kernel, so a late fput() is safe after
	 * unload. Creation and use share credentials: SELinux checks neither a
	 * private inode nor a file of the same context.
	 */
	old = override_creds(gate_cred);
	file = anon_inode_getfile("[guestreq_gate]", &generic_ro_fops, NULL, O_RDONLY);
	revert_creds(old);
	if (IS_ERR(file)) {
		put_cred(gate_cred);
		return PTR_ERR(file);
	}
	mutex_lock(&file_lock);		/* against a concurrent self-test */
	WRITE_ONCE(gate_file, file);	/* against ask_file() */
	mutex_unlock(&file_lock);
	return 0;
}

void ask_close(void)
{
	struct file *file;

	mutex_lock(&file_lock);		/* waits for a self-test; later ones find no file */
	file = gate_file;
	WRITE_ONCE(gate_file, NULL);
	mutex_unlock(&file_lock);
	fput(file);
	put_cred(gate_cred);
}
