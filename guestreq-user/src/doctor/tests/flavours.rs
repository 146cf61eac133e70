//! Kernels built without what SNP guests need, and those that only have to load it.

use super::{
    fake::{BUILTIN, CCP_DEP, CONFIG, DEP, Fake, KVM_AMD_DEP},
    find, says,
};
use crate::doctor::State;

const CANNOT: &str = "cannot host SNP guests";
const FLAVOUR: &str = "linux-image-amd64, and not linux-image-cloud-amd64";

/// Debian's cloud kernel: kvm_amd without SEV, no ccp.
fn cloud() -> Fake {
    let fake = Fake::ready();
    fake.remove("/sys/module/ccp");
    fake.remove("/sys/module/kvm_amd/parameters/sev_snp");
    fake.edit(CONFIG, "CONFIG_KVM_AMD_SEV=y\n", "");
    fake.edit(DEP, CCP_DEP, "");
    fake
}

fn fails(fake: &Fake, id: &str, parts: &[&str]) {
    let report = fake.examine();
    let check = find(&report, id);
    assert_eq!(check.state, State::Fail, "{id}: {}", says(check));
    for part in parts {
        assert!(says(check).contains(part), "{id}: {} has no {part}", says(check));
    }
    let useless = parts.contains(&CANNOT) && says(check).contains("modprobe");
    assert!(!useless, "{id} suggests what cannot help: {}", says(check));
}

#[test]
fn a_cloud_kernel_cannot_host_snp_guests_and_must_be_replaced() {
    let fake = cloud();
    fails(&fake, "ccp", &[CANNOT, FLAVOUR, "6.12.9-amd64"]);
    fails(&fake, "sev_snp", &[CANNOT, FLAVOUR]);
    assert_eq!(find(&fake.examine(), "kvm_amd").state, State::Pass, "it is loaded");
    // Also if kvm_amd is not loaded yet.
    fake.remove("/sys/module/kvm_amd");
    fails(&fake, "kvm_amd", &[CANNOT, FLAVOUR]);
}

#[test]
fn each_of_a_cloud_kernel_s_files_is_sufficient() {
    let only_config = cloud();
    only_config.remove("/lib/modules");
    let only_lists = cloud();
    only_lists.remove("/boot");
    let only_kvm_amd = cloud();
    only_kvm_amd.remove("/lib/modules");
    only_kvm_amd.remove("/boot");
    for fake in [&only_config, &only_lists, &only_kvm_amd] {
        fails(fake, "ccp", &[CANNOT]);
        fails(fake, "sev_snp", &[CANNOT]);
    }
    for fake in [&only_config, &only_lists] {
        fake.remove("/sys/module/kvm_amd");
        fails(fake, "kvm_amd", &[CANNOT]);
    }
}

#[test]
fn available_modules_must_be_loaded() {
    let fake = Fake::ready();
    fake.remove("/sys/module/ccp");
    fails(&fake, "ccp", &["is not loaded", "`modprobe ccp`"]);
    fake.remove("/sys/module/kvm_amd");
    fails(&fake, "kvm_amd", &["is not loaded", "`modprobe kvm_amd`"]);
    // Fedora's path of the configuration.
    fake.remove("/boot");
    fake.write("/lib/modules/6.12.9-amd64/config", "CONFIG_KVM_AMD_SEV=y\n");
    fails(&fake, "ccp", &["`modprobe ccp`"]);
}

#[test]
fn built_in_modules_need_no_loading() {
    let fake = Fake::ready();
    fake.remove("/sys/module/ccp");
    fake.edit(DEP, CCP_DEP, "");
    fake.append(BUILTIN, "kernel/drivers/crypto/ccp/ccp.ko\n");
    let report = fake.examine();
    let check = find(&report, "ccp");
    assert_eq!((check.state, check.why.as_str()), (State::Pass, "built in"));
    assert_eq!(report.failed, 0, "{report:?}");
}

/// As in Ubuntu, where most drivers are in another package.
#[test]
fn modules_that_were_built_but_not_installed_must_be_installed() {
    let fake = Fake::ready();
    fake.remove("/sys/module/ccp");
    fake.edit(DEP, CCP_DEP, "");
    fails(&fake, "ccp", &["not installed for 6.12.9-amd64", "linux-modules-extra"]);
    fake.edit(DEP, KVM_AMD_DEP, "");
    fake.remove("/sys/module/kvm_amd");
    fails(&fake, "kvm_amd", &["not installed for 6.12.9-amd64"]);
}

/// A container sees neither /lib/modules nor /boot of its host.
#[test]
fn without_files_loading_is_suggested() {
    let fake = Fake::ready();
    fake.remove("/lib/modules");
    fake.remove("/boot");
    fake.remove("/sys/module/ccp");
    fails(&fake, "ccp", &["is not loaded", "`modprobe ccp`"]);
    fake.remove("/sys/module/kvm_amd");
    fails(&fake, "kvm_amd", &["is not loaded", "`modprobe kvm_amd`"]);
}

/// Before 6.11 the parameter's absence does not show how the kernel was built.
#[test]
fn a_kernel_that_is_too_old_is_reported() {
    let fake = Fake::ready();
    fake.write("/proc/sys/kernel/osrelease", "6.8.0-1\n");
    fake.remove("/sys/module/kvm_amd/parameters/sev_snp");
    fails(&fake, "sev_snp", &["knows no SNP", "Linux 6.11"]);
}
