/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Interfaces between the gate's source files:
 *
 *	main.c		init and exit
 *	hook.c		intercepts requests to ccp and applies the decision
 *	ask.c		asks the LSM hook and counts the answers
 *	busy.c		writes BUSY into the guest's GHCB
 *	order.c		lets admitted requests go to ccp in a fair order; see order.h
 *	params.c	module parameters in sysfs
 *	order_params.c	those of the order, and the list of who waits
 */
#ifndef GATE_H
#define GATE_H

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/fs.h>		/* struct file, which psp-sev.h of 6.12 needs but does not include */
#include <linux/moduleparam.h>
#include <linux/psp-sev.h>

#include "guestreq_gate.h"
#include "order.h"

/*
 * A firmware error that no firmware returns ("GATE"): marks refused VMGEXITs for
 * busy.c.
 */
#define GATE_BUSY_MAGIC	0x47415445

enum decision { ADMIT, DENY, BUSY, UNANSWERED };

/* ask.c */
struct gate_counts {
	atomic64_t admitted, denied, busy, unanswered;
};

extern struct gate_counts gate_counts;
extern bool gate_closed;
int ask_open(void);
void ask_close(void);
unsigned long ask_file(void);
u64 ask_cookie(void);
enum decision ask_request(const struct sev_data_snp_guest_request *req, unsigned int *weight);
int ask_test(u64 nonce, enum decision *decision);

/* hook.c */
int hook_install(void);
void hook_remove(void);

/* busy.c */
int busy_watch(void);
void busy_unwatch(void);
void busy_expect(void);

/* params.c, order_params.c */
int param_may_set(const struct kernel_param *kp);
int param_no_set(const char *val, const struct kernel_param *kp);
int order_list_create(void);
void order_list_remove(void);

#endif
