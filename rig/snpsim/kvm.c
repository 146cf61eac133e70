// SPDX-License-Identifier: GPL-2.0
/*
 * kvm_amd's side: the variables it sets from CPUID, and VMRUN of SEV-ES and SNP
 * vCPUs. Other SVM guests still execute a real VMRUN.
 */
#include "snpsim.h"

#include <linux/bitmap.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm_host.h>
#include <linux/misc_cgroup.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/psp-sev.h>
#include <linux/slab.h>
#include <asm/svm.h>

/* As on a real host; lower ASIDs are for SEV-ES and SNP. */
#define NR_SNP_ASIDS	509
#define FIRST_SEV_ASID	(NR_SNP_ASIDS + 1)
#define LAST_ASID	(NR_SNP_ASIDS + 16)

#define VM_TYPES	(BIT(2) | BIT(3) | BIT(4))	/* KVM_X86_{SEV,SEV_ES,SNP}_VM */

/*
 * Guards vcpu_fops, which is NULL while kvm_amd is not armed: module
 * notifications write it, the ioctl reads it.
 */
static DEFINE_MUTEX(armed_lock);
static const struct file_operations *vcpu_fops;

/* The instruction pointer, in its VMSA, of a vCPU that snpload drives: no address. */
#define RIP_DRIVEN	0x64616f6c706e73ULL

static __always_inline struct sev_es_save_area *vmsa(struct vmcb_control_area *c)
{
	return __va(c->vmsa_pa);
}

/*
 * Replaces VMRUN. A vCPU whose GHCB MSR was never written from outside runs the
 * guest of guest.c. One that snpload drives executes VMGEXIT and, when KVM
 * continues it, HLT, on which KVM_RUN returns to user space. Runs where VMRUN
 * does, with RCU not watching: no tracing.
 */
static notrace void fake_vmrun(void *svm)
{
	struct vmcb_control_area *c = &FIELD(svm, struct vmcb *, vcpu_svm, vmcb)->control;

	if (vmsa(c)->rip != RIP_DRIVEN)
		return guest_run(c);
	if (!c->exit_code || c->exit_code == SVM_EXIT_HLT)
		c->exit_code = SVM_EXIT_VMGEXIT;
	else
		c->exit_code = SVM_EXIT_HLT;
	c->exit_info_1 = 0;
	c->exit_info_2 = 0;
	c->exit_int_info = 0;
}

typedef void *(*text_poke_fn)(void *addr, const void *op, size_t len);

static void replace_vmrun(unsigned long addr, text_poke_fn text_poke, struct mutex *text_mutex)
{
	u8 jmp[5] = { 0xe9 };
	s32 rel = (long)fake_vmrun - (long)(addr + sizeof(jmp));

	memcpy(jmp + 1, &rel, sizeof(rel));
	mutex_lock(text_mutex);		/* text_poke() demands it */
	text_poke((void *)addr, jmp, sizeof(jmp));
	mutex_unlock(text_mutex);
}

/* Skips variables that this kernel does not have. */
#define SET(type, name, val) do {					\
	type *p = (type *)snpsim_lookup("kvm_amd:" name);		\
									\
	if (p)								\
		*p = (val);						\
} while (0)

/* What sev_cpu_init() would have done on each CPU. */
static int alloc_vmcb_tables(void __percpu *svm_data)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		void **vmcbs = &FIELD(per_cpu_ptr(svm_data, cpu), void *, svm_cpu_data, sev_vmcbs);

		*vmcbs = kcalloc(LAST_ASID + 1, sizeof(void *), GFP_KERNEL);
		if (!*vmcbs)
			goto free;
	}
	return 0;

free:
	for_each_possible_cpu(cpu) {
		void **vmcbs = &FIELD(per_cpu_ptr(svm_data, cpu), void *, svm_cpu_data, sev_vmcbs);

		kfree(*vmcbs);
		*vmcbs = NULL;
	}
	return -ENOMEM;
}

/*
 * What sev_hardware_setup() would have found. kvm_amd's exit function frees the
 * bitmaps and tables and returns the capacities as its own.
 */
static int set_outcome(void __percpu *svm_data)
{
	unsigned long *used = bitmap_zalloc(LAST_ASID + 1, GFP_KERNEL);
	unsigned long *reclaim = bitmap_zalloc(LAST_ASID + 1, GFP_KERNEL);
	int ret = -ENOMEM;

	if (!used || !reclaim)
		goto free;
	ret = alloc_vmcb_tables(svm_data);
	if (ret)
		goto free;

	misc_cg_set_capacity(MISC_CG_RES_SEV, LAST_ASID - FIRST_SEV_ASID + 1);
	misc_cg_set_capacity(MISC_CG_RES_SEV_ES, NR_SNP_ASIDS);
	SET(unsigned int, "max_sev_asid", LAST_ASID);
	SET(unsigned int, "min_sev_asid", FIRST_SEV_ASID);
	SET(unsigned int, "nr_asids", LAST_ASID + 1);
	SET(unsigned long *, "sev_asid_bitmap", used);
	SET(unsigned long *, "sev_reclaim_asid_bitmap", reclaim);
	SET(unsigned int, "min_sev_es_asid", 1);
	SET(unsigned int, "max_sev_es_asid", NR_SNP_ASIDS);
	SET(unsigned int, "min_snp_asid", 1);
	SET(unsigned int, "max_snp_asid", NR_SNP_ASIDS);
	SET(u64, "snp_supported_policy_bits", GENMASK_ULL(21, 0));
	SET(bool, "sev_enabled", true);
	SET(bool, "sev_es_enabled", true);
	SET(bool, "sev_snp_enabled", true);
	return 0;

free:
	bitmap_free(used);
	bitmap_free(reclaim);
	return ret;
}

/*
 * Call when kvm_amd has just become LIVE: the last moment at which its
 * __ro_after_init variables can be written. The kernel in which it is built in
 * has none of these among what is written here.
 */
int kvm_arm(void)
{
	int (*sev_platform_init)(struct sev_platform_init_args *args) =
		(void *)snpsim_need("ccp:sev_platform_init");
	void __percpu *svm_data = (void __percpu *)snpsim_need("kvm_amd:svm_data");
	void *caps = (void *)snpsim_need("kvm:kvm_caps");
	void *fops = (void *)snpsim_need("kvm:kvm_vcpu_fops");
	unsigned long vmrun = snpsim_need("kvm_amd:__svm_sev_es_vcpu_run");
	text_poke_fn text_poke = (text_poke_fn)snpsim_need("text_poke");
	struct mutex *text_mutex = (void *)snpsim_need("text_mutex");
	struct sev_platform_init_args args = { .probe = false };
	int ret;

	if (!sev_platform_init || !svm_data || !caps || !fops ||
	    !vmrun || !text_poke || !text_mutex)
		return -ENOENT;
	if (!ccp_sev_device())
		return -ENODEV;

	ret = sev_platform_init(&args);
	if (ret) {
		pr_err("sev_platform_init: %d, firmware status %#x\n", ret, args.error);
		return ret;
	}
	ret = set_outcome(svm_data);
	if (ret)
		return ret;
	/* nothing fails from here on: a caller that gives up frees this module */
	replace_vmrun(vmrun, text_poke, text_mutex);
	FIELD(ccp_sev_device(), bool, sev_device, snp_initialized) = true;
	FIELD(caps, u32, kvm_caps, supported_vm_types) |= VM_TYPES;

	mutex_lock(&armed_lock);
	vcpu_fops = fops;
	mutex_unlock(&armed_lock);
	pr_info("kvm_amd is armed, SNP ASIDs 1-%d\n", NR_SNP_ASIDS);
	return 0;
}

void kvm_disarm(void)
{
	mutex_lock(&armed_lock);
	vcpu_fops = NULL;
	mutex_unlock(&armed_lock);
}

static struct file *get_vcpu_file(int fd)
{
	const struct file_operations *fops;
	struct file *file;

	mutex_lock(&armed_lock);
	fops = vcpu_fops;
	mutex_unlock(&armed_lock);
	if (!fops)
		return ERR_PTR(-ENODEV);

	file = fget(fd);
	if (!file)
		return ERR_PTR(-EBADF);
	/* from here on the file keeps kvm, and through it kvm_amd, in place */
	if (file->f_op != fops) {
		fput(file);
		return ERR_PTR(-EINVAL);
	}
	return file;
}

/* The guest's WRMSR and RDMSR of the GHCB MSR, which lives in its VMCB. */
long kvm_ghcb_msr(int vcpu_fd, u64 *value)
{
	struct file *file = get_vcpu_file(vcpu_fd);
	struct vmcb_control_area *c;
	struct kvm_vcpu *vcpu;
	long ret = 0;
	u64 old;

	if (IS_ERR(file))
		return PTR_ERR(file);
	vcpu = file->private_data;
	/* the vCPU must not run while its VMCB is changed */
	if (mutex_lock_killable(&vcpu->mutex)) {
		ret = -EINTR;
		goto put;
	}
	c = &FIELD((char *)vcpu - OFF_vcpu_svm__vcpu, struct vmcb *, vcpu_svm, vmcb)->control;
	/* the guest has destroyed this vCPU, or KVM found no page for its VMSA */
	if (c->vmsa_pa == INVALID_PAGE) {
		ret = -EINVAL;
		goto unlock;
	}
	old = c->ghcb_gpa;
	c->ghcb_gpa = *value;
	*value = old;
	if (c->vmsa_pa)
		vmsa(c)->rip = RIP_DRIVEN;
	c->exit_code = 0;	/* the next KVM_RUN begins with a #VMGEXIT */
unlock:
	mutex_unlock(&vcpu->mutex);
put:
	fput(file);
	return ret;
}
