//! # SEV commands
//!
//! What a VMM asks of KVM with KVM_MEMORY_ENCRYPT_OP.

use kvm_bindings::{
    kvm_sev_cmd, sev_cmd_id_KVM_SEV_INIT2, sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH,
    sev_cmd_id_KVM_SEV_SNP_LAUNCH_START, sev_cmd_id_KVM_SEV_SNP_LAUNCH_UPDATE,
};
use kvm_ioctls::VmFd;

use crate::launch::Refused;

pub struct SevCommand {
    id: u32,
    name: &'static str,
}

const fn command(id: u32, name: &'static str) -> SevCommand {
    SevCommand { id, name }
}

pub const INIT2: SevCommand = command(sev_cmd_id_KVM_SEV_INIT2, "KVM_SEV_INIT2");
pub const SNP_LAUNCH_START: SevCommand =
    command(sev_cmd_id_KVM_SEV_SNP_LAUNCH_START, "KVM_SEV_SNP_LAUNCH_START");
pub const SNP_LAUNCH_UPDATE: SevCommand =
    command(sev_cmd_id_KVM_SEV_SNP_LAUNCH_UPDATE, "KVM_SEV_SNP_LAUNCH_UPDATE");
pub const SNP_LAUNCH_FINISH: SevCommand =
    command(sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH, "KVM_SEV_SNP_LAUNCH_FINISH");
/// Newer than the bindings: Linux 7.0.
pub const SNP_ENABLE_REQ_CERTS: SevCommand =
    command(103, "KVM_SEV_SNP_ENABLE_REQ_CERTS (from Linux 7.0)");

impl SevCommand {
    /// `psp` is /dev/sev's descriptor.
    pub fn issue<T>(&self, vm: &VmFd, psp: u32, data: &mut T) -> Result<(), Refused> {
        let mut command = kvm_sev_cmd {
            id: self.id,
            data: if size_of::<T>() == 0 { 0 } else { std::ptr::from_mut(data) as u64 },
            sev_fd: psp,
            ..Default::default()
        };
        let done = vm.encrypt_op_sev(&mut command);
        done.map_err(|e| Refused::new(self.name, e.errno(), command.error))
    }
}
