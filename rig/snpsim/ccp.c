// SPDX-License-Identifier: GPL-2.0
/*
 * The ccp driver's device: a platform device with the PSP's registers, passed
 * to the driver's sp_init() like its PCI probe would, and to sp_destroy() when
 * the driver is removed. The driver's allocations belong to the device, so each
 * load of ccp gets a new one.
 *
 * Called from module notifications, one at a time, see main.c.
 */
#include "snpsim.h"

#include <linux/err.h>
#include <linux/platform_device.h>
#include <linux/slab.h>

/*
 * Only ccp can look into it. Its name is known, as kernels with kCFI compare the
 * types of functions that are called by address.
 */
struct sp_device;

static struct platform_device *pdev;
static struct sp_device *sp;		/* NULL while ccp is away */

static struct sp_device *get_master(void)
{
	return sp;
}

static void ignore_master(struct sp_device *unused)
{
}

void *ccp_sev_device(void)
{
	void *psp = sp ? FIELD(sp, void *, sp_device, psp_data) : NULL;

	return psp ? FIELD(psp, void *, psp_device, sev_data) : NULL;
}

static int fill_in(void *psp_vdata)
{
	void *vdata = devm_kzalloc(&pdev->dev, SZ_sp_dev_vdata, GFP_KERNEL);

	if (!vdata)
		return -ENOMEM;
	FIELD(vdata, void *, sp_dev_vdata, psp_vdata) = psp_vdata;
	FIELD(sp, void *, sp_device, dev_vdata) = vdata;
	FIELD(sp, void *, sp_device, io_map) = psp_registers();
	FIELD(sp, unsigned int, sp_device, psp_irq) = psp_irq_number();
	FIELD(sp, void *, sp_device, get_psp_master_device) = get_master;
	FIELD(sp, void *, sp_device, set_psp_master_device) = ignore_master;
	FIELD(sp, void *, sp_device, clear_psp_master_device) = ignore_master;
	return 0;
}

static void find_registers(void *psp_vdata, struct psp_layout *layout)
{
	void *sev_vdata = FIELD(psp_vdata, void *, psp_vdata, sev);

	layout->feature = FIELD(psp_vdata, u32, psp_vdata, feature_reg);
	layout->intsts = FIELD(psp_vdata, u32, psp_vdata, intsts_reg);
	layout->cmdresp = FIELD(sev_vdata, u32, sev_vdata, cmdresp_reg);
	layout->addr_lo = FIELD(sev_vdata, u32, sev_vdata, cmdbuff_addr_lo_reg);
	layout->addr_hi = FIELD(sev_vdata, u32, sev_vdata, cmdbuff_addr_hi_reg);
}

int ccp_bring_up(void)
{
	struct sp_device *(*sp_alloc_struct)(struct device *dev) =
		(void *)snpsim_need("ccp:sp_alloc_struct");
	int (*sp_init)(struct sp_device *sp) = (void *)snpsim_need("ccp:sp_init");
	void (*psp_pci_init)(void) = (void *)snpsim_need("ccp:psp_pci_init");
	void *psp_vdata = (void *)snpsim_need("ccp:pspv4");
	struct psp_layout layout;
	int ret;

	if (sp)
		return 0;
	if (!sp_alloc_struct || !sp_init || !psp_pci_init || !psp_vdata ||
	    !snpsim_need("ccp:sp_destroy"))
		return -ENOENT;

	find_registers(psp_vdata, &layout);
	ret = psp_power_on(&layout);
	if (ret)
		return ret;
	pdev = platform_device_register_simple("snpsim-psp", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(pdev)) {
		ret = PTR_ERR(pdev);
		goto power_off;
	}
	sp = sp_alloc_struct(&pdev->dev);
	if (!sp) {
		ret = -ENOMEM;
		goto unregister;
	}
	ret = fill_in(psp_vdata);
	if (ret)
		goto forget;

	sp_init(sp);
	psp_pci_init();
	if (!ccp_sev_device()) {
		ccp_tear_down();
		return -EIO;
	}
	pr_info("ccp drives the fake PSP\n");
	return 0;

forget:
	sp = NULL;
unregister:
	platform_device_unregister(pdev);
power_off:
	psp_power_off();
	return ret;
}

/*
 * delete_module() calls the driver's exit function before its notifiers: the
 * firmware is shut down by then, but the driver's code still exists and can
 * remove what its exit function leaves without a PCI device: /dev/sev, the
 * interrupt, and its list entry.
 */
void ccp_tear_down(void)
{
	void (*sp_destroy)(struct sp_device *sp) = (void *)snpsim_need("ccp:sp_destroy");

	if (!sp)
		return;
	if (sp_destroy)
		sp_destroy(sp);
	sp = NULL;
	psp_power_off();
	platform_device_unregister(pdev);
	pr_info("ccp let go of the fake PSP\n");
}

#define CMD_TIO_GUEST_REQUEST	0xe0	/* in no kernel's enum sev_cmd yet */

/*
 * Looked up instead of linked, so that ccp can be unloaded. The caller makes
 * sure that it stays loaded meanwhile.
 */
long ccp_tio_guest_request(void)
{
	int (*do_cmd)(int cmd, void *data, int *psp_ret) =
		(void *)snpsim_need("ccp:sev_do_cmd");
	int error = 0;

	return do_cmd ? do_cmd(CMD_TIO_GUEST_REQUEST, NULL, &error) : -ENOENT;
}
