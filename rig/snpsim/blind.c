// SPDX-License-Identifier: GPL-2.0
/*
 * blind_bpf: while it is set, the kernel runs no BPF program on a kprobe, a
 * return probe or a tracepoint attached through perf, and counts each as
 * missed, exactly as it does when a probe fires inside a running BPF program:
 * trace_call_bpf() checks the per-CPU bpf_prog_active, which this raises.
 * Programs on raw tracepoints and LSM hooks have other counters and still run.
 */
#include "snpsim.h"

#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/smp.h>

/* Both are used only by blind_set(), under the parameter lock. */
static bool blind_bpf;
static int __percpu *bpf_active;

/*
 * Each CPU changes its own counter, like BPF, so running programs are not
 * disturbed.
 */
static void blind_this_cpu(void *delta)
{
	this_cpu_add(*bpf_active, (int)(long)delta);
}

static int blind_set(const char *val, const struct kernel_param *kp)
{
	bool want;
	int ret = kstrtobool(val, &want);

	if (ret)
		return ret;
	if (want == blind_bpf)
		return 0;
	bpf_active = (int __percpu *)snpsim_need("bpf_prog_active");
	if (!bpf_active)
		return -ENOENT;
	on_each_cpu(blind_this_cpu, (void *)(want ? 1L : -1L), 1);
	blind_bpf = want;
	return 0;
}

static const struct kernel_param_ops blind_ops = {
	.set = blind_set,
	.get = param_get_bool,
};
module_param_cb(blind_bpf, &blind_ops, &blind_bpf, 0644);
MODULE_PARM_DESC(blind_bpf, "make the kernel skip BPF programs on kprobes and count them as missed");
