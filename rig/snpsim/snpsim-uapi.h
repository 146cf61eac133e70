/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What user space may ask of /dev/snpsim; reading the device gives the ground
 * truth of the fake firmware, see stats.c.
 */
#ifndef SNPSIM_UAPI_H
#define SNPSIM_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * The guest's WRMSR and RDMSR of the GHCB MSR: no guest code runs, so the rig's
 * guest writes it from outside. Also makes the next KVM_RUN of the vCPU begin
 * with a #VMGEXIT, whatever it was doing.
 */
struct snpsim_ghcb_msr {
	__s32 vcpu_fd;		/* from KVM_CREATE_VCPU */
	__u32 pad;		/* must be 0 */
	__u64 value;		/* in: the new value, out: the previous one */
};

#define SNPSIM_GHCB_MSR	_IOWR('S', 0x01, struct snpsim_ghcb_msr)

/*
 * Holds the lock of another process's memory (its mmap_lock, to write) while the
 * module's parameter hold_memory is set. The argument is the process's number.
 */
#define SNPSIM_HOLD_MEMORY	_IO('S', 0x02)

/*
 * What a VMM's ioctl comes to by which it has a SEV-TIO guest request made: the
 * command, by the caller's thread. It has no data, as no device is behind it.
 */
#define SNPSIM_TIO_GUEST_REQUEST	_IO('S', 0x03)

#endif
