/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The gate's ABI: its question to an LSM program, and the answers.
 *
 * The question is security_file_ioctl(file, GUESTREQ_GATE_ASK, &question), in
 * kernel memory, with a file that only the gate holds; parameter "file" is its
 * address. Any process can call ioctl() with that number and any pointer, so a
 * program must compare the file before it reads the question. The cookie is a
 * second check: the file's address may be reused after the gate is unloaded.
 */
#ifndef GUESTREQ_GATE_H
#define GUESTREQ_GATE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * Changes with anything below, and with the parameters' names or format. A gate
 * serves all programs from parameter "protocol" to parameter "protocol_newest". A
 * gate without the latter is of protocol 1. What a program for protocol 1 may
 * answer means the same in 2.
 */
#define GUESTREQ_GATE_PROTOCOL		2
#define GUESTREQ_GATE_PROTOCOL_OLDEST	1

/* Plaintext part of a guest's message, see the SEV-SNP firmware ABI (56860). */
#define GUESTREQ_HEADER_SIZE	0x60

struct guestreq_gate_question {
	__u64 cookie;		/* parameter "cookie", drawn at load time */
	__u64 nonce;		/* 0: a guest request; else a self-test with an all-zero header */
	__u64 gctx_paddr;	/* guest context, which identifies the guest to the firmware */
	__u8 header[GUESTREQ_HEADER_SIZE];	/* a copy, as the PSP will read it */
};

#define GUESTREQ_GATE_ASK	_IOW('S', 0x94, struct guestreq_gate_question)

/*
 * Answers; anything else, including 0, means unanswered. They are not errnos, but
 * within the range that an LSM hook may return.
 */
#define GUESTREQ_GATE_ADMIT	(-3001)
#define GUESTREQ_GATE_DENY	(-3002)	/* the guest reads INVALID_PARAM and gives up that VMPCK */
#define GUESTREQ_GATE_BUSY	(-3003)	/* the guest reads BUSY and retries the same message */

/* Protocol 2: admit with this weight in the order, 1 to 255. ADMIT means 1. */
#define GUESTREQ_GATE_ADMIT_WEIGHTED	(-3100)	/* less the weight */
#define GUESTREQ_GATE_MAX_WEIGHT	255

#endif
