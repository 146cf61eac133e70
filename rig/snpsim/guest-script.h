/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What a guest of guest.c does: written by rig/scenarios/src/flash/script.rs,
 * where a test compares its layout with this file.
 *
 * It is at the start of the last 4 KiB of the firmware image; in OVMF's image, where
 * that is code, in the spare block of its variables, which a launch leaves as it is.
 * All numbers are little-endian, and nothing is padded by the compiler.
 */
#ifndef GUEST_SCRIPT_H
#define GUEST_SCRIPT_H

#include <linux/types.h>

#define GUEST_SCRIPT_GPA	0xfffff000
#define GUEST_SCRIPT_OVMF_GPA	0xffc42000
#define GUEST_SCRIPT_MAGIC	"SNPGUEST"
#define GUEST_SCRIPT_VERSION	2
#define GUEST_SCRIPT_REQUESTS	32

/* A guest request. */
struct guest_request {
	__u8 type;		/* of the message */
	__u8 vmpck;		/* 0 to 3; the second vCPU uses the one two further */
	__u8 extended;		/* 1: an extended request, with a page for certificates */
	__u8 pad;
};

struct guest_script {
	__u8 magic[8];
	__u32 version;
	__u32 interval_us;	/* between two requests, at most 4 s */
	__u32 count;		/* of requests, then it is over; 0: no end */
	__u32 retry_us;		/* after BUSY the same message follows; 0: at the next interval */
	__u32 give_up_us;	/* BUSY for longer: the VMPCK is wiped; 0: never */
	__u8 wipe_on_error;	/* 1: an answer that is neither success nor BUSY wipes it, too */
	__u8 requests;		/* how many of those that follow are used, again and again */
	__u8 vcpus;		/* 1 or 2: how many send requests */
	__u8 spins;		/* 1: when it is over a vCPU spins; 0: it asks to be terminated */
	__u8 shares_by_ghcb;	/* 1: its pages but the GHCB are shared by it; 0: by the MSR protocol */
	__u8 pad[3];
	struct guest_request request[GUEST_SCRIPT_REQUESTS];
};

#endif
