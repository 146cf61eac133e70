//! # Offsets of private struct members, read from the target kernel's own BTF
//!
//! The rig's modules access members that no header declares and whose offsets differ between
//! kernels. So each build gets its kernel's `offsets.h`: `SZ_<struct>` is a struct's size and
//! `OFF_<struct>__<member>` a member's offset in bytes. A member that a kernel lacks is left
//! out, for `#ifdef`.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};
use btf_rs::{Btf, Type};

use super::kernels::Kernel;

/// A module, a struct in its BTF, and the members to export.
const WANTED: &[(&str, &str, &str)] = &[
    (
        "ccp",
        "sp_device",
        "dev dev_vdata ord name io_map ccp_irq psp_irq psp_data \
         get_psp_master_device set_psp_master_device clear_psp_master_device",
    ),
    ("ccp", "sp_dev_vdata", "bar psp_vdata"),
    ("ccp", "psp_vdata", "sev feature_reg inten_reg intsts_reg"),
    ("ccp", "sev_vdata", "cmdresp_reg cmdbuff_addr_lo_reg cmdbuff_addr_hi_reg"),
    ("ccp", "psp_device", "sev_data sev_irq_handler sev_irq_data io_regs"),
    ("ccp", "sev_device", "io_regs int_rcvd snp_initialized api_major api_minor"),
    ("kvm_amd", "vcpu_svm", "vcpu vmcb sev_es"),
    ("kvm_amd", "vcpu_sev_es_state", "ghcb ghcb_registered_gpa"),
    ("kvm_amd", "kvm_svm", "kvm sev_info"),
    (
        "kvm_amd",
        "kvm_sev_info",
        "active es_active asid fd vmsa_features snp_context \
         guest_req_buf guest_resp_buf guest_req_mutex",
    ),
    ("kvm_amd", "svm_cpu_data", "sev_vmcbs"),
    ("kvm", "kvm_caps", "supported_vm_types"),
];

/// The text of `offsets.h` for `kernel`.
pub fn header(kernel: &Kernel) -> Result<String> {
    // Reading BTF takes seconds, so the result is cached per table.
    let key = super::cache::digest([format!("{WANTED:?}")]);
    let memory = kernel.dir.join(format!("offsets-{key}.h"));
    if let Ok(text) = fs::read_to_string(&memory) {
        return Ok(text);
    }
    let text = generate(kernel)?;
    let part = memory.with_extension("part");
    fs::write(&part, &text)?;
    fs::rename(part, memory)?;
    Ok(text)
}

fn generate(kernel: &Kernel) -> Result<String> {
    let read = |name: &str| {
        let path = kernel.dir.join("btf").join(name);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let kernel_types = read("vmlinux")?;
    let base = Btf::from_bytes(&kernel_types)?;
    let mut text = format!(
        "/* SPDX-License-Identifier: GPL-2.0 */\n/* Generated from the BTF of {}. */\n",
        kernel.abi
    );
    for rows in WANTED.chunk_by(|a, b| a.0 == b.0) {
        let module = rows[0].0;
        let is_built_in = !kernel.dir.join("btf").join(module).exists();
        let btf = match is_built_in {
            true => Btf::from_bytes(&kernel_types)?,
            false => Btf::from_split_bytes(&read(module)?, &base)?,
        };
        for (_, name, members) in rows {
            write_struct(&mut text, &btf, name, members)
                .with_context(|| format!("BTF of {module} in {}", kernel.abi))?;
        }
    }
    Ok(text)
}

fn write_struct(text: &mut String, btf: &Btf, name: &str, members: &str) -> Result<()> {
    let types = btf.resolve_types_by_name(name).unwrap_or_default();
    let found = types.iter().rev().find_map(|kind| match kind {
        Type::Struct(found) => Some(found),
        _ => None,
    });
    let Some(found) = found else {
        writeln!(text, "/* no struct {name} */")?;
        return Ok(());
    };
    writeln!(text, "#define SZ_{name} {}", found.size())?;
    for member in &found.members {
        let member_name = btf.resolve_name(member)?;
        if members.split(' ').any(|wanted| wanted == member_name) {
            writeln!(text, "#define OFF_{name}__{member_name} {}", member.bit_offset() / 8)?;
        }
    }
    Ok(())
}
