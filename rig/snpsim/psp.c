// SPDX-License-Identifier: GPL-2.0
/*
 * The PSP: its registers are RAM, its interrupt is allocated here, and its
 * processor is a kernel thread that polls the mailbox. It is powered on and off
 * with the ccp driver, its only user.
 */
#include "snpsim.h"

#include <linux/err.h>
#include <linux/hrtimer.h>
#include <linux/irq.h>
#include <linux/irqdesc.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>
#include <linux/sched/stat.h>
#include <linux/slab.h>
#include <asm/page.h>

#define REGISTER_SPACE	0x11000

/* PSP_CMDRESP_* and SEV_CMD_COMPLETE of the ccp driver */
#define CMDRESP_RESP	BIT(31)
#define CMDRESP_CMD(r)	(((r) >> 16) & 0x7ff)
#define CMDRESP_STS	0xffff
#define INTSTS_CMD_DONE	BIT(1)
#define FEATURE_SEV	BIT(0)

static unsigned int poll_us = 50;
module_param(poll_us, uint, 0644);
MODULE_PARM_DESC(poll_us, "how often the mailbox is looked at, except just after a command");

/*
 * The thread spins for SPIN_NS after a command, since on a busy host the next
 * one comes within that time. Then it polls ever less often, so that an idle
 * rig is idle.
 */
#define SPIN_NS		(200 * NSEC_PER_USEC)
#define CALM_NS		(20 * NSEC_PER_MSEC)
#define CALM_POLL_US	1000U
#define IDLE_NS		(2 * NSEC_PER_SEC)
#define IDLE_POLL_US	5000U

static char *registers;
static int irq = -1;
static struct task_struct *thread;	/* NULL while the power is off */
static struct psp_layout at;

static u32 *reg(u32 offset)
{
	return (u32 *)(registers + offset);
}

void *psp_registers(void)
{
	return registers;
}

unsigned int psp_irq_number(void)
{
	return irq;
}

/* The firmware's sleep, interrupted by power-off. */
void psp_sleep_us(u64 us)
{
	ktime_t until = ktime_add_us(ktime_get(), us);

	while (ktime_before(ktime_get(), until)) {
		set_current_state(TASK_IDLE);
		if (kthread_should_stop()) {
			__set_current_state(TASK_RUNNING);
			return;
		}
		schedule_hrtimeout_range(&until, NSEC_PER_USEC, HRTIMER_MODE_ABS);
	}
}

static void wait_a_little(u64 idle_ns)
{
	unsigned int us = max(READ_ONCE(poll_us), 1U);

	/* spinning would keep the waiting thread off this CPU */
	if (idle_ns < SPIN_NS && single_task_running()) {
		cpu_relax();
	} else {
		if (idle_ns > CALM_NS)
			us = max(us, idle_ns > IDLE_NS ? IDLE_POLL_US : CALM_POLL_US);
		psp_sleep_us(us);
	}
}

static void answer(u16 status)
{
	WRITE_ONCE(*reg(at.intsts), INTSTS_CMD_DONE);
	/* pairs with the driver's read in its interrupt handler: status and data first */
	smp_store_release(reg(at.cmdresp), CMDRESP_RESP | status);
	generic_handle_irq_safe(irq);
}

static int psp_thread(void *unused)
{
	u64 last = ktime_get_ns();

	/* hardware does not compete with 200 VMs for a CPU */
	set_user_nice(current, MIN_NICE);
	while (!kthread_should_stop()) {
		/* pairs with the driver's iowrite32(), which comes after the address */
		u32 r = smp_load_acquire(reg(at.cmdresp));
		unsigned int cmd = CMDRESP_CMD(r);
		u64 phys;
		int status;

		if ((r & CMDRESP_RESP) || !cmd) {
			wait_a_little(ktime_get_ns() - last);
			continue;
		}

		phys = READ_ONCE(*reg(at.addr_lo)) | (u64)READ_ONCE(*reg(at.addr_hi)) << 32;
		status = firmware_command(cmd, phys ? __va(phys) : NULL);
		if (status == FW_HUNG)
			WRITE_ONCE(*reg(at.cmdresp), 0);	/* taken, never answered */
		else
			answer(status & CMDRESP_STS);
		last = ktime_get_ns();
	}
	return 0;
}

int psp_power_on(const struct psp_layout *layout)
{
	struct task_struct *t;

	at = *layout;
	memset(registers, 0, REGISTER_SPACE);
	*reg(at.feature) = FEATURE_SEV;

	t = kthread_run(psp_thread, NULL, "fake-psp");
	if (IS_ERR(t))
		return PTR_ERR(t);
	thread = t;
	return 0;
}

/* The driver has finished: no command is in flight or can follow. */
void psp_power_off(void)
{
	if (!thread)
		return;
	kthread_stop(thread);
	thread = NULL;
	firmware_reset();
}

int psp_create(void)
{
	registers = kvzalloc(REGISTER_SPACE, GFP_KERNEL);
	if (!registers)
		return -ENOMEM;

	irq = irq_alloc_desc(NUMA_NO_NODE);
	if (irq < 0) {
		kvfree(registers);
		return irq;
	}
	irq_set_chip_and_handler(irq, &dummy_irq_chip, handle_simple_irq);
	irq_clear_status_flags(irq, IRQ_NOREQUEST | IRQ_NOPROBE);
	return 0;
}

void psp_free(void)
{
	irq_free_desc(irq);
	kvfree(registers);
}
