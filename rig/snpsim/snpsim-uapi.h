/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The ioctls of /dev/snpsim; reading the device gives the fake firmware's
 * counts, see stats.c.
 */
#ifndef SNPSIM_UAPI_H
#define SNPSIM_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * The guest's WRMSR and RDMSR of the GHCB MSR: no guest code runs, so it is
 * written from outside. The vCPU's next KVM_RUN then starts with a VMGEXIT,
 * whatever it was doing.
 */
struct snpsim_ghcb_msr {
	__s32 vcpu_fd;		/* from KVM_CREATE_VCPU */
	__u32 pad;		/* must be 0 */
	__u64 value;		/* in: the new value, out: the previous one */
};

#define SNPSIM_GHCB_MSR	_IOWR('S', 0x01, struct snpsim_ghcb_msr)

/*
 * Holds another process's mmap_lock for writing while the module's parameter
 * hold_memory is set. The argument is the process's pid.
 */
#define SNPSIM_HOLD_MEMORY	_IO('S', 0x02)

/*
 * Issues the command of a SEV-TIO guest request in the caller's thread, like a
 * VMM's ioctl. It has no data, as there is no device.
 */
#define SNPSIM_TIO_GUEST_REQUEST	_IO('S', 0x03)

#endif
