/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The gate's ABI: what it asks an LSM program, and what it takes for an answer.
 *
 * The question is security_file_ioctl(file, GUESTREQ_GATE_ASK, &question) with a
 * file that only the gate holds, and whose address is in the gate's parameter
 * "file". The question is in kernel memory. Any process can call ioctl() with
 * that number and any pointer, so a program looks at the file first, and where
 * it is another one, at nothing else. The cookie is a second proof: the address
 * of a file is used again when the gate is gone.
 */
#ifndef GUESTREQ_GATE_H
#define GUESTREQ_GATE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Changes whenever anything below does, or the parameters' names or format. */
#define GUESTREQ_GATE_PROTOCOL	1

/* The plaintext part of a guest's message, see the SEV-SNP firmware ABI (56860). */
#define GUESTREQ_HEADER_SIZE	0x60

struct guestreq_gate_question {
	__u64 cookie;		/* the parameter "cookie", drawn when the gate was loaded */
	__u64 nonce;		/* 0: a guest's request; else a self-test, header all zero */
	__u64 gctx_paddr;	/* the guest context, by which the firmware knows the guest */
	__u8 header[GUESTREQ_HEADER_SIZE];	/* a copy, as the PSP will read it */
};

#define GUESTREQ_GATE_ASK	_IOW('S', 0x94, struct guestreq_gate_question)

/*
 * Answers; anything else, 0 included, means that nobody answered. They are no
 * errno, and within what an LSM hook may return.
 */
#define GUESTREQ_GATE_ADMIT	(-3001)
#define GUESTREQ_GATE_DENY	(-3002)	/* the guest reads INVALID_PARAM, for good */
#define GUESTREQ_GATE_BUSY	(-3003)	/* the guest reads BUSY and sends the same again */

#endif
