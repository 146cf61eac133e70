// SPDX-License-Identifier: GPL-2.0
/*
 * The firmware: what it does with each command, and its faults.
 * Only the PSP thread runs it.
 */
#include "snpsim.h"

#include <linux/bits.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/psp-sev.h>
#include <linux/string.h>
#include <asm/page.h>

static bool hang;
module_param(hang, bool, 0644);
MODULE_PARM_DESC(hang, "take commands and never answer them");

static unsigned int fail_page;
module_param(fail_page, uint, 0644);
MODULE_PARM_DESC(fail_page, "refuse this page of every launch, counted from 1; 0: none");

static unsigned int status;

static int status_set(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 0, MAX_STATUS - 1);
}

static const struct kernel_param_ops status_ops = {
	.set = status_set,
	.get = param_get_uint,
};
module_param_cb(status, &status_ops, &status, 0644);
MODULE_PARM_DESC(status, "firmware status of every guest request, below 0x40; 0: as it deserves");

static bool status_steps;
module_param(status_steps, bool, 0644);
MODULE_PARM_DESC(status_steps, "a status other than 0 is one more at each guest request");

/* Status codes and fields that some kernels' psp-sev.h lacks. */
#define STATUS_POLICY_FAILURE	0x07
#define STATUS_INVALID_GUEST	0x10
#define STATUS_INVALID_PARAM	0x16
#define POLICY_ABI		GENMASK_ULL(15, 0)	/* major and minor, at least */

#define API_MAJOR	1
#define API_MINOR	55

/* A guest may want newer firmware than this. */
static u16 launch_start(const struct sev_data_snp_launch_start *d)
{
	if ((d->policy & POLICY_ABI) > (API_MAJOR << 8 | API_MINOR))
		return STATUS_POLICY_FAILURE;
	return 0;
}

/* The VMM may try the page that is refused again: it stays refused. */
static u16 launch_update(const struct sev_data_snp_launch_update *d)
{
	unsigned int *pages = context_pages(d->gctx_paddr);

	if (!pages)
		return STATUS_INVALID_GUEST;
	if (*pages + 1 == READ_ONCE(fail_page))
		return STATUS_INVALID_PARAM;
	(*pages)++;
	return 0;
}

static u16 guest_request(const struct sev_data_snp_guest_request *d)
{
	const void *request = __va(d->req_paddr);
	u16 forced = READ_ONCE(status);
	u16 ret;

	if (forced && READ_ONCE(status_steps))
		WRITE_ONCE(status, (forced + 1) % MAX_STATUS);
	ret = forced ?: message_status(d->gctx_paddr, request, __va(d->res_paddr));
	stats_message(d->gctx_paddr, message_type(request), ret);
	return ret;
}

static void platform_status(struct sev_user_data_status *s)
{
	memset(s, 0, sizeof(*s));
	s->api_major = API_MAJOR;
	s->api_minor = API_MINOR;
	s->build = 21;
}

static void snp_platform_status(struct sev_user_data_snp_status *s)
{
	memset(s, 0, sizeof(*s));
	s->api_major = API_MAJOR;
	s->api_minor = API_MINOR;
	s->state = 1;
	s->build_id = 21;
}

static u16 dispatch(unsigned int cmd, void *buf)
{
	switch (cmd) {
	case SEV_CMD_SNP_GUEST_REQUEST:
		return guest_request(buf);
	case SEV_CMD_SNP_LAUNCH_START:
		return launch_start(buf);
	case SEV_CMD_SNP_LAUNCH_UPDATE:
		return launch_update(buf);
	case SEV_CMD_SNP_GCTX_CREATE:
		stats_context(((struct sev_data_snp_addr *)buf)->address);
		return context_create(((struct sev_data_snp_addr *)buf)->address);
	case SEV_CMD_SNP_DECOMMISSION:
		context_destroy(((struct sev_data_snp_addr *)buf)->address);
		return 0;
	case SEV_CMD_SNP_SHUTDOWN_EX:
		firmware_reset();
		return 0;
	case SEV_CMD_PLATFORM_STATUS:
		platform_status(buf);
		return 0;
	case SEV_CMD_SNP_PLATFORM_STATUS:
		snp_platform_status(__va(((struct sev_data_snp_addr *)buf)->address));
		return 0;
	default:
		return 0;
	}
}

/* The guest context of a launch's command; 0: any other command. */
static u64 launching(unsigned int cmd, const void *buf)
{
	switch (cmd) {
	case SEV_CMD_SNP_GCTX_CREATE:
		return ((const struct sev_data_snp_addr *)buf)->address;
	case SEV_CMD_SNP_LAUNCH_START:
		return ((const struct sev_data_snp_launch_start *)buf)->gctx_paddr;
	case SEV_CMD_SNP_ACTIVATE:
		return ((const struct sev_data_snp_activate *)buf)->gctx_paddr;
	case SEV_CMD_SNP_LAUNCH_UPDATE:
		return ((const struct sev_data_snp_launch_update *)buf)->gctx_paddr;
	case SEV_CMD_SNP_LAUNCH_FINISH:
		return ((const struct sev_data_snp_launch_finish *)buf)->gctx_paddr;
	default:
		return 0;
	}
}

/*
 * Executes a command and returns its status, or FW_HUNG. The time is counted
 * here, before the driver can see the answer.
 */
int firmware_command(unsigned int cmd, void *buf)
{
	struct command c = {
		.cmd = cmd,
		.launching = launching(cmd, buf),
		.begin_ns = ktime_get_ns(),
	};

	if (READ_ONCE(hang)) {
		stats_hung(cmd);
		return FW_HUNG;
	}
	c.slept_ns = firmware_sleep(cmd);
	c.status = dispatch(cmd, buf);
	c.end_ns = ktime_get_ns();
	stats_command(&c);
	return c.status;
}
