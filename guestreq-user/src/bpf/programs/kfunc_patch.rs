//! # A function of the kernel's that the programs call
//!
//! `bpf_rdonly_cast`, by which a program reads a word of kernel memory without a
//! call (guestreq-ebpf, `kernel::word`). It is known by its number among the
//! kernel's types; aya calls helpers only, so the number is put in here.

use aya::Btf;
use aya_obj::btf::BtfKind;
use guestreq_common::tail_calls::RDONLY_CAST;

/// `call` of the kernel's instructions, of a helper and of a function known by its type
/// (BPF_PSEUDO_KFUNC_CALL in include/uapi/linux/bpf.h).
const CALL_HELPER: [u8; 4] = [0x85, 0, 0, 0];
const CALL_FUNCTION: [u8; 4] = [0x85, 2 << 4, 0, 0];

pub struct RdonlyCast {
    function: u32,
    /// `struct pt_regs`, for [`guestreq_common::tail_calls::RDONLY_CAST`]'s second argument.
    pub registers: u32,
}

impl RdonlyCast {
    /// `None` where the kernel has no such function: it is older than 6.2.
    pub fn find(btf: &Btf) -> Option<RdonlyCast> {
        Some(RdonlyCast {
            function: btf.id_by_type_name_kind("bpf_rdonly_cast", BtfKind::Func).ok()?,
            registers: btf.id_by_type_name_kind("pt_regs", BtfKind::Struct).ok()?,
        })
    }

    /// Makes the programs of an object call it; how often they do.
    pub fn put_into(&self, object: &mut [u8]) -> usize {
        let mut calls = 0;
        // Instructions have 8 bytes each, and sections of them begin at a multiple of that.
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
        // The entries of kvm_vmgexit_enter and kvm_vmgexit_exit, and twice what the second jumps to.
        assert_eq!(cast.put_into(&mut object), 4);
        assert_eq!(cast.put_into(&mut object), 0, "once");
        let call = [0x85, 0x20, 0, 0, 4, 3, 2, 1];
        assert_eq!(object.chunks(8).filter(|bytes| *bytes == call).count(), 4);
    }
}
