//! # Calls of the kfunc `bpf_rdonly_cast`
//!
//! With it programs read kernel memory without a helper call (guestreq-ebpf, `kernel::word`). aya
//! cannot relocate kfunc calls, so the kfunc's BTF id is patched in here.

use aya::Btf;
use aya_obj::btf::BtfKind;
use guestreq_common::tail_calls::RDONLY_CAST;

/// `call` of a helper and of a kfunc (BPF_PSEUDO_KFUNC_CALL in include/uapi/linux/bpf.h).
const CALL_HELPER: [u8; 4] = [0x85, 0, 0, 0];
const CALL_FUNCTION: [u8; 4] = [0x85, 2 << 4, 0, 0];

pub struct RdonlyCast {
    function: u32,
    /// `struct pt_regs`, for [`guestreq_common::tail_calls::RDONLY_CAST`]'s second argument.
    pub registers: u32,
}

impl RdonlyCast {
    /// `None` before Linux 6.2.
    pub fn find(btf: &Btf) -> Option<RdonlyCast> {
        Some(RdonlyCast {
            function: btf.id_by_type_name_kind("bpf_rdonly_cast", BtfKind::Func).ok()?,
            registers: btf.id_by_type_name_kind("pt_regs", BtfKind::Struct).ok()?,
        })
    }

    /// Patches an object's calls. Returns how many there were.
    pub fn put_into(&self, object: &mut [u8]) -> usize {
        let mut calls = 0;
        // Instructions have 8 bytes and are 8-aligned.
        for instruction in object.as_chunks_mut::<8>().0 {
            let [head @ .., a, b, c, d] = instruction;
            if *head == CALL_HELPER && [*a, *b, *c, *d] == RDONLY_CAST.to_le_bytes() {
                *head = CALL_FUNCTION;
                [*a, *b, *c, *d] = self.function.to_le_bytes();
                calls += 1;
            }
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::programs::built_in;

    #[test]
    #[cfg_attr(without_programs, ignore = "there are no eBPF programs: cargo xtask build")]
    fn each_program_that_runs_for_every_vmgexit_calls_it() {
        let cast = RdonlyCast { function: 0x0102_0304, registers: 1 };
        let mut object = built_in().unwrap().to_vec();
        // The entries of kvm_vmgexit_enter and kvm_vmgexit_exit, and twice what the second jumps
        // to.
        assert_eq!(cast.put_into(&mut object), 4);
        assert_eq!(cast.put_into(&mut object), 0, "once");
        let call = [0x85, 0x20, 0, 0, 4, 3, 2, 1];
        assert_eq!(object.chunks(8).filter(|bytes| *bytes == call).count(), 4);
    }
}
