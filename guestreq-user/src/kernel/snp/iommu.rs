//! # The IOMMU, which protects guests' memory from devices
//!
//! `iommu_snp_enable` in drivers/iommu/amd/init.c disables SNP unless the IOMMU translates.

use super::{Signs, options};
use crate::host::system::Missing;

/// `FEATURE_SNP`: SNPSup of the IOMMU's extended features.
const SNP: u64 = 1 << 63;

pub fn off_or_passthrough(signs: &Signs<'_>) -> Option<Missing> {
    on_command_line(signs).or_else(|| of_the_running_one(signs)).or_else(|| {
        let mode = |part: &str, fix: &str| {
            let line = signs.log_has(&["SNP", "IOMMU", part])?;
            Some(Missing::new(format!("the kernel's log has \"{line}\""), fix))
        };
        mode(
            "passthrough mode",
            "IOMMU on in the firmware's setup, and not in passthrough mode: no iommu=pt, iommu=off \
             or amd_iommu=off on the kernel's command line",
        )
        .or_else(|| mode("V2 page table", "boot without amd_iommu=pgtbl_v2"))
    })
}

/// The last option counts, as in the kernel; but none enables an IOMMU that is off.
fn on_command_line(signs: &Signs<'_>) -> Option<Missing> {
    let (mut off, mut passthrough, mut v2) = (None, None, None);
    for word in options::command_line(signs) {
        let Some((name, values)) = options::split(&word) else { continue };
        for value in values.split(',') {
            // The kernel compares only the beginning of list items.
            let is = |known: &str| value.starts_with(known);
            match name.as_str() {
                "iommu" | "amd_iommu" if is("off") => off = Some(word.clone()),
                "iommu" if is("pt") => passthrough = Some(word.clone()),
                "iommu" if is("nopt") => passthrough = None,
                "iommu.passthrough" if options::says_yes(value) => passthrough = Some(word.clone()),
                "iommu.passthrough" if options::says_no(value) => passthrough = None,
                "amd_iommu" if is("pgtbl_v2") => v2 = Some(word.clone()),
                "amd_iommu" if is("pgtbl_v1") => v2 = None,
                _ => {}
            }
        }
    }
    let (word, what) = off
        .map(|word| (word, "the IOMMU is off"))
        .or_else(|| passthrough.map(|word| (word, "the IOMMU is in passthrough mode")))
        .or_else(|| v2.map(|word| (word, "the IOMMU has page tables of version 2")))?;
    Some(Missing::new(
        format!("{what}: {word} is on the kernel's command line"),
        format!("boot without {word}"),
    ))
}

/// Some kernels are built with passthrough as their default.
fn of_the_running_one(signs: &Signs<'_>) -> Option<Missing> {
    const GROUPS: &str = "/sys/kernel/iommu_groups";
    if !signs.system.exists(GROUPS) {
        return None;
    }
    let groups = signs.system.list(GROUPS);
    if groups.is_empty() && signs.system.list("/sys/class/iommu").is_empty() {
        let fix = "IOMMU on in the firmware's setup";
        return Some(Missing::new(format!("the IOMMU is off: {GROUPS} is empty"), fix));
    }
    let kind = |group: &String| signs.system.read(&format!("{GROUPS}/{group}/type")).ok();
    let kinds: Vec<String> = groups.iter().filter_map(kind).collect();
    (!kinds.is_empty() && kinds.iter().all(|kind| kind == "identity")).then(|| {
        let what = format!("the IOMMU is in passthrough mode: all of {GROUPS} are identity");
        Missing::new(what, "boot with iommu=nopt, and without iommu=pt")
    })
}

pub fn without_snp(signs: &Signs<'_>) -> Option<Missing> {
    const FIX: &str = "in the firmware's setup SEV-SNP support of the IOMMU (NBIO); if there is no \
                       such setting, or it is on, a newer BIOS";
    if let Some(line) = signs.log_has(&["SNP", "IOMMU", "not enabled"]) {
        return Some(Missing::new(format!("the kernel's log has \"{line}\""), FIX));
    }
    let lacks = |name: &String| {
        // Newer kernels append a second register after a colon.
        let path = format!("/sys/class/iommu/{name}/amd-iommu/features");
        let features = signs.system.read(&path).ok()?;
        let first = features.split(':').next()?.trim_start_matches("0x").to_owned();
        Some(u64::from_str_radix(&first, 16).ok()? & SNP == 0)
    };
    let names = signs.system.list("/sys/class/iommu");
    let name = names.iter().find(|name| lacks(name) == Some(true))?;
    Some(Missing::new(format!("the IOMMU {name} does not support SNP"), FIX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::system::System;

    fn fix(line: &str) -> Option<String> {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir(tree.path().join("proc")).unwrap();
        std::fs::write(tree.path().join("proc/cmdline"), format!("ro {line}\n")).unwrap();
        let system = System::at(tree.path());
        on_command_line(&Signs { system: &system, log: "" }).map(|missing| missing.fix)
    }

    #[test]
    fn the_command_line_is_read_as_the_kernel_reads_it() {
        for (line, culprit) in [
            ("iommu=pt", "iommu=pt"),
            ("iommu=\"pt\"", "iommu=\"pt\""),
            ("iommu=memaper,pt", "iommu=memaper,pt"),
            ("intel_iommu=on iommu=pt", "iommu=pt"),
            ("iommu=nopt iommu=pt", "iommu=pt"),
            ("iommu.passthrough=on", "iommu.passthrough=on"),
            ("iommu=nopt iommu.passthrough=1", "iommu.passthrough=1"),
            ("amd-iommu=off", "amd-iommu=off"),
            ("amd_iommu=off amd_iommu=on", "amd_iommu=off"),
            ("iommu=off iommu=force", "iommu=off"),
            ("amd_iommu=force_enable,pgtbl_v2", "amd_iommu=force_enable,pgtbl_v2"),
        ] {
            assert_eq!(fix(line), Some(format!("boot without {culprit}")), "{line}");
        }
        for line in [
            "amd_iommu=on",
            "amd_iommu=pt",
            "iommu=pt iommu=nopt",
            "iommu=pt iommu.passthrough=0",
            "iommu.passthrough",
            "iommu.passthrough=maybe",
            "amd_iommu=pgtbl_v2 amd_iommu=pgtbl_v1",
            "vfio.iommu=pt",
            "-- iommu=pt",
        ] {
            assert_eq!(fix(line), None, "{line}");
        }
    }
}
