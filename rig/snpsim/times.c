// SPDX-License-Identifier: GPL-2.0
/*
 * How long the firmware takes for each command. Only the PSP thread asks.
 */
#include "snpsim.h"

#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/psp-sev.h>
#include <linux/random.h>

/* The defaults are published or assumed; rig/README.md says which and whose. */
static unsigned int latency_us = 7700;
module_param(latency_us, uint, 0644);
MODULE_PARM_DESC(latency_us, "time a guest request takes");

static unsigned int jitter_us;
module_param(jitter_us, uint, 0644);
MODULE_PARM_DESC(jitter_us, "up to this much more for a guest request, at random");

static unsigned int page_us = 1000;
module_param(page_us, uint, 0644);
MODULE_PARM_DESC(page_us, "time a launch's page takes");

static int other_us = -1;
module_param(other_us, int, 0644);
MODULE_PARM_DESC(other_us, "time every other command takes; -1: each its default");

static unsigned int jitter_percent = 5;

static int jitter_percent_set(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 0, 100);
}

static const struct kernel_param_ops jitter_percent_ops = {
	.set = jitter_percent_set,
	.get = param_get_uint,
};
module_param_cb(jitter_percent, &jitter_percent_ops, &jitter_percent, 0644);
MODULE_PARM_DESC(jitter_percent, "up to this much more or less for every command, at random");

/*
 * SNP_INIT takes 1 to 14 s on hardware, but the rig boots in 2 s. No citable
 * measurement of the others is known.
 */
static unsigned int default_us(unsigned int cmd)
{
	switch (cmd) {
	case SEV_CMD_SNP_INIT:
	case SEV_CMD_SNP_INIT_EX:
		return 100000;
	case SEV_CMD_PLATFORM_STATUS:
	case SEV_CMD_SNP_PLATFORM_STATUS:
		return 12000;
	case SEV_CMD_DF_FLUSH:
	case SEV_CMD_SNP_DF_FLUSH:
		return 3600;
	default:
		return 200;
	}
}

static u64 command_us(unsigned int cmd)
{
	int other = READ_ONCE(other_us);
	u64 jitter = READ_ONCE(jitter_us);

	switch (cmd) {
	case SEV_CMD_SNP_GUEST_REQUEST:
		return READ_ONCE(latency_us) + get_random_u64() % (jitter + 1);
	case SEV_CMD_SNP_LAUNCH_UPDATE:
		return READ_ONCE(page_us);
	default:
		return other < 0 ? default_us(cmd) : other;
	}
}

/* The average stays what it is. */
static u64 more_or_less(u64 us)
{
	u64 range = us * READ_ONCE(jitter_percent) / 100;

	return us - range + get_random_u64() % (2 * range + 1);
}

/* Takes the time of a command, and returns it in ns. */
u64 firmware_sleep(unsigned int cmd)
{
	u64 begin = ktime_get_ns();
	u64 us = more_or_less(command_us(cmd));

	if (!us)
		return 0;
	psp_sleep_us(us);
	return ktime_get_ns() - begin;
}
