// SPDX-License-Identifier: GPL-2.0
/*
 * Module init and notifications. snpsim is loaded before kvm_amd, and before or
 * after ccp and kvm (on PREEMPT_RT: before kvm); it stays loaded while any of
 * them is reloaded.
 *
 * Where they are built into the kernel, they have started on a host without SEV
 * when it is loaded: ccp as a driver without a device, kvm_amd as one that runs
 * other VMs. Both wait for nothing else, and what snpsim changes in them when
 * they are modules comes after their init functions, too. So it does the same to
 * those that are built in: guestreq, which starts later, finds a host as after
 * a boot on hardware.
 */
#include "snpsim.h"

#include <linux/kconfig.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/preempt.h>
#include <linux/string.h>
#include <asm/cpufeature.h>
#include <asm/processor.h>

/*
 * Serialises the handling of loaded and unloaded modules: ccp_*(), kvm_*arm().
 */
static DEFINE_MUTEX(modules_lock);

static unsigned long (*kallsyms)(const char *name);

/* The symbols of what is built in do not have a module's name before theirs. */
static const char *kernel_name(const char *name)
{
	if ((IS_BUILTIN(CONFIG_CRYPTO_DEV_CCP_DD) && strstarts(name, "ccp:")) ||
	    (IS_BUILTIN(CONFIG_KVM_AMD) && strstarts(name, "kvm_amd:")) ||
	    (IS_BUILTIN(CONFIG_KVM) && strstarts(name, "kvm:")))
		return strchr(name, ':') + 1;
	return name;
}

unsigned long snpsim_lookup(const char *name)
{
	return kallsyms ? kallsyms(kernel_name(name)) : 0;
}

unsigned long snpsim_need(const char *name)
{
	unsigned long addr = snpsim_lookup(name);

	if (!addr)
		pr_err("this kernel has no symbol %s\n", name);
	return addr;
}

/* kallsyms_lookup_name() is not exported, but a kprobe gives its address. */
static int find_kallsyms(void)
{
	struct kprobe kp = { .symbol_name = "kallsyms_lookup_name" };
	int ret = register_kprobe(&kp);

	if (ret)
		return ret;
	kallsyms = (void *)kp.addr;
	unregister_kprobe(&kp);
	return 0;
}

/* What early_init_amd() and bsp_determine_snp() would have found in CPUID. */
static void set_cpu_features(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		set_cpu_cap(&cpu_data(cpu), X86_FEATURE_SEV);
		set_cpu_cap(&cpu_data(cpu), X86_FEATURE_SEV_ES);
		set_cpu_cap(&cpu_data(cpu), X86_FEATURE_SEV_SNP);
	}
	set_cpu_cap(&boot_cpu_data, X86_FEATURE_SEV);
}

/*
 * Every EPYC has a constant TSC. QEMU's emulation does not report it (CPUID
 * 0x80000007, EDX bit 8), and without it kvm_amd does not load on PREEMPT_RT.
 * kvm checks the bit twice: its code is patched when kvm is loaded, and it
 * reads boot_cpu_data when kvm_amd is. If the two differ, KVM_RUN waits for the
 * TSC's frequency forever.
 */
static int set_constant_tsc(void)
{
	if (!IS_ENABLED(CONFIG_PREEMPT_RT) || boot_cpu_has(X86_FEATURE_CONSTANT_TSC))
		return 0;
	if (snpsim_lookup("kvm:kvm_caps")) {
		pr_err("kvm was loaded first, which PREEMPT_RT does not support\n");
		return -EBUSY;
	}
	set_cpu_cap(&boot_cpu_data, X86_FEATURE_CONSTANT_TSC);
	return 0;
}

static void module_loaded(const char *name)
{
	int ret = 0;

	if (!strcmp(name, "ccp"))
		ret = ccp_bring_up();
	else if (!strcmp(name, "kvm_amd"))
		ret = kvm_arm();
	if (ret)
		pr_err("%s: %d\n", name, ret);
}

static void module_unloading(const char *name)
{
	if (!strcmp(name, "ccp"))
		ccp_tear_down();
	else if (!strcmp(name, "kvm_amd"))
		kvm_disarm();
}

static int module_event(struct notifier_block *nb, unsigned long state, void *data)
{
	struct module *mod = data;

	mutex_lock(&modules_lock);
	if (state == MODULE_STATE_LIVE)
		module_loaded(mod->name);
	else if (state == MODULE_STATE_GOING)
		module_unloading(mod->name);
	mutex_unlock(&modules_lock);
	return NOTIFY_OK;
}

static struct notifier_block module_nb = { .notifier_call = module_event };

/* What was loaded earlier, or is built in, causes no notification. */
static int catch_up(void)
{
	int ret = 0;

	mutex_lock(&modules_lock);
	if (snpsim_lookup("ccp:sp_init"))
		ret = ccp_bring_up();
	if (ret)
		goto unlock;
	if (IS_BUILTIN(CONFIG_KVM_AMD)) {
		ret = kvm_arm();
		/* the caller frees the PSP that it drives */
		if (ret)
			ccp_tear_down();
	} else if (snpsim_lookup("kvm_amd:svm_data")) {
		pr_warn("kvm_amd was loaded first, remove and insert it to have SNP\n");
	}
unlock:
	mutex_unlock(&modules_lock);
	return ret;
}

/*
 * KVM's first VM turns on a static key in the scheduler, and its last turns it
 * off, each time by rewriting code that the PSP's thread runs through thousands
 * of times a second. QEMU's multi-threaded TCG can translate such code between
 * the invalidation of the old and the write of the new: the CPU then hits the
 * breakpoint of a finished rewrite, and the kernel panics on an unexpected
 * int3. So the key stays on.
 */
static void settle_scheduler(void)
{
	preempt_notifier_inc();
}

static int __init snpsim_init(void)
{
	int ret;

	ret = find_kallsyms();
	if (ret)
		return ret;
	ret = set_constant_tsc();
	if (ret)
		return ret;
	ret = rmp_hook();
	if (ret)
		return ret;
	ret = psp_create();
	if (ret)
		goto unhook;
	ret = chardev_register();
	if (ret)
		goto free_psp;
	set_cpu_features();
	settle_scheduler();
	ret = register_module_notifier(&module_nb);
	if (ret)
		goto unsettle;
	ret = catch_up();
	if (ret)
		goto unregister_notifier;
	return 0;

unregister_notifier:
	unregister_module_notifier(&module_nb);
unsettle:
	preempt_notifier_dec();
	chardev_unregister();
free_psp:
	psp_free();
unhook:
	rmp_unhook();
	return ret;
}

/*
 * No exit function: kvm_amd's text jumps into this module, and the rig's
 * machine is discarded after a test.
 */
module_init(snpsim_init);

MODULE_DESCRIPTION("SEV-SNP guest-request simulator for KVM hosts without SNP");
MODULE_LICENSE("GPL");
