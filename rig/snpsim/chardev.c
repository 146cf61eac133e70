// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/snpsim: reading it gives the firmware's counts, taken when the device is
 * opened. Its ioctls write the GHCB MSR for the guest, simulate a stuck driver,
 * and make SEV-TIO guest requests.
 */
#include "snpsim.h"
#include "snpsim-uapi.h"

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

static int snpsim_show(struct seq_file *m, void *unused)
{
	stats_print(m, m->private);
	return 0;
}

static int snpsim_open(struct inode *inode, struct file *file)
{
	struct stats *s = stats_snapshot();
	int ret;

	if (!s)
		return -ENOMEM;
	/* misc_open() left the miscdevice here; seq_file wants it empty */
	file->private_data = NULL;
	ret = single_open(file, snpsim_show, s);
	if (ret)
		stats_free(s);
	return ret;
}

static int snpsim_release(struct inode *inode, struct file *file)
{
	struct seq_file *m = file->private_data;

	stats_free(m->private);
	return single_release(inode, file);
}

static long snpsim_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct snpsim_ghcb_msr __user *user = (void __user *)arg;
	struct snpsim_ghcb_msr a;
	u64 value;
	long ret;

	if (cmd == SNPSIM_HOLD_MEMORY)
		return hold_memory_of(arg);
	if (cmd == SNPSIM_TIO_GUEST_REQUEST)
		return ccp_tio_guest_request();
	if (cmd != SNPSIM_GHCB_MSR)
		return -ENOTTY;
	if (copy_from_user(&a, user, sizeof(a)))
		return -EFAULT;
	if (a.pad)
		return -EINVAL;
	value = a.value;
	ret = kvm_ghcb_msr(a.vcpu_fd, &value);
	if (ret)
		return ret;
	a.value = value;
	return copy_to_user(user, &a, sizeof(a)) ? -EFAULT : 0;
}

static const struct file_operations snpsim_fops = {
	.owner = THIS_MODULE,
	.open = snpsim_open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = snpsim_release,
	.unlocked_ioctl = snpsim_ioctl,
};

static struct miscdevice snpsim_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "snpsim",
	.fops = &snpsim_fops,
};

int chardev_register(void)
{
	return misc_register(&snpsim_misc);
}

void chardev_unregister(void)
{
	misc_deregister(&snpsim_misc);
}
