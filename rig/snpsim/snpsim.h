/* SPDX-License-Identifier: GPL-2.0 */
/*
 * snpsim - run the real KVM and ccp guest-request path without SNP hardware
 *
 * Files:
 *   main.c      module init and notifications
 *   psp.c       the PSP's registers and its thread
 *   firmware.c  what the firmware does with each command
 *   times.c     how long it takes for each
 *   messages.c  its checks of guest messages: header, sequence numbers
 *   stats.c     its counts, shown by `cat /dev/snpsim`
 *   ccp.c       the ccp driver's device on those registers
 *   kvm.c       makes kvm_amd detect SNP, and replaces VMRUN
 *   guest*.c    what runs instead of VMRUN in a VMM's guest, see guest.c
 *   rmp.c       makes RMP updates succeed
 *   blind.c     makes the kernel skip BPF programs, to provoke missed probes
 *   hold.c      holds a process's mmap_lock
 *   chardev.c   /dev/snpsim
 *
 * offsets.h is generated from the BTF of the kernel the module is built for:
 * OFF_<struct>__<member> and SZ_<struct>, in bytes, of the private structs
 *   ccp      sp_device: dev_vdata io_map psp_irq psp_data get_psp_master_device
 *                       set_psp_master_device clear_psp_master_device
 *            sp_dev_vdata (and its size): psp_vdata
 *            psp_vdata: sev feature_reg intsts_reg
 *            sev_vdata: cmdresp_reg cmdbuff_addr_lo_reg cmdbuff_addr_hi_reg
 *            psp_device: sev_data
 *            sev_device: snp_initialized
 *   kvm_amd  vcpu_svm: vcpu vmcb
 *            svm_cpu_data: sev_vmcbs
 *   kvm      kvm_caps: supported_vm_types
 */
#ifndef SNPSIM_H
#define SNPSIM_H

#ifdef pr_fmt
#undef pr_fmt
#endif
#define pr_fmt(fmt) "snpsim: " fmt

#include <linux/printk.h>
#include <linux/seq_file.h>
#include <linux/types.h>

#include "offsets.h"

/* An lvalue for a member of a struct that only its own driver can name. */
#define FIELD(base, type, st, member) \
	(*(type *)((char *)(base) + OFF_##st##__##member))

/* main.c: kallsyms, also of modules ("ccp:sp_init"); _need complains */
unsigned long snpsim_lookup(const char *name);
unsigned long snpsim_need(const char *name);

/* psp.c: the mailbox, as the ccp driver sees it in its struct sev_vdata */
struct psp_layout {
	u32 feature;
	u32 intsts;
	u32 cmdresp;
	u32 addr_lo;
	u32 addr_hi;
};

int psp_create(void);
void psp_free(void);
int psp_power_on(const struct psp_layout *layout);
void psp_power_off(void);
void *psp_registers(void);
unsigned int psp_irq_number(void);
void psp_sleep_us(u64 us);

/* firmware.c, times.c and messages.c: only run by the PSP thread */
enum { FW_HUNG = -1 };		/* instead of a status: never answer */

int firmware_command(unsigned int cmd, void *buf);
u64 firmware_sleep(unsigned int cmd);
void firmware_reset(void);
u16 message_status(u64 gctx, const void *request, void *response);
int context_create(u64 gctx);
void context_destroy(u64 gctx);
unsigned int *context_pages(u64 gctx);
u8 message_type(const void *request);

/* stats.c */
#define MAX_STATUS	0x40	/* the ABI's codes end at 0x2f */
#define MAX_COMMAND	0x100	/* and its commands at 0xcf, those of SEV-TIO at 0xe4 */

/* A command that was executed. */
struct command {
	unsigned int cmd;
	u16 status;
	u64 launching;		/* the guest context, of a launch's commands */
	u64 begin_ns;
	u64 end_ns;
	u64 slept_ns;
};

struct stats;

void stats_context(u64 gctx);
void stats_message(u64 gctx, u8 type, u16 status);
void stats_hung(unsigned int cmd);
void stats_command(const struct command *c);
struct stats *stats_snapshot(void);
void stats_print(struct seq_file *m, const struct stats *s);
void stats_free(struct stats *s);

/* ccp.c, kvm.c: called when a module is loaded or unloaded, see main.c */
int ccp_bring_up(void);
void ccp_tear_down(void);
void *ccp_sev_device(void);
long ccp_tio_guest_request(void);
int kvm_arm(void);
void kvm_disarm(void);
long kvm_ghcb_msr(int vcpu_fd, u64 *value);

/* guest.c: runs where VMRUN does */
struct vmcb_control_area;
void guest_run(struct vmcb_control_area *vmcb);

/* hold.c */
long hold_memory_of(pid_t nr);

/* rmp.c, chardev.c */
int rmp_hook(void);
void rmp_unhook(void);
int chardev_register(void);
void chardev_unregister(void);

#endif
