//! # Missing firmware setup, and refusals of the PSP

use super::{Signs, cpu::Cpu};
use crate::{
    host::system::Missing,
    kernel::{log, version},
};

/// What the ccp driver requires (`SNP_MIN_API_MAJOR` in drivers/crypto/ccp/sev-dev.h).
pub const OLDEST: (u32, u32) = (1, 51);

/// The RMP, the table of pages' owners, for which the firmware reserves memory.
pub fn rmp(signs: &Signs<'_>) -> Option<Missing> {
    const FIX: &str = "in the firmware's setup SEV-SNP, and SNP memory coverage for all memory; if \
                       there is no such setting, or it is on, a newer BIOS";
    let line = signs
        .log_has(&["RMP table has not been reserved"])
        .or_else(|| signs.log_has(&["RMP table does not cover"]))
        .or_else(|| signs.log_has(&["RMP", "not valid"]))
        .or_else(|| signs.log_has(&["RMP", "nvalid"]))
        .or_else(|| signs.log_has(&["ailed to map", "RMP"]));
    if let Some(line) = line {
        return Some(Missing::new(format!("the kernel's log has \"{line}\""), FIX));
    }
    // The kernel clears the flag if it finds no table.
    let cpu = Cpu::of(signs)?;
    (cpu.has("sev_es") && !cpu.has("sev_snp")).then(|| {
        let what = "the firmware has reserved no memory for the RMP, or has SNP off: /proc/cpuinfo \
                    has sev_es but not sev_snp";
        Missing::new(what, FIX)
    })
}

/// A PSP that refused ccp's first commands.
pub fn refused(signs: &Signs<'_>) -> Option<Missing> {
    let line = refusal(signs.log)?;
    Some(Missing::new(format!("the PSP refused: the kernel's log has \"{line}\""), REFUSED))
}

pub const REFUSED: &str = "update the host's firmware (BIOS, and linux-firmware's amd/ files), then \
                           power the host off and on";

/// The log line (`sev_get_api_version`, `__sev_snp_init_locked`, `__sev_do_cmd_locked`).
pub fn refusal(log: &str) -> Option<&str> {
    log::find(log, &["SEV: failed to get status"])
        .or_else(|| log::find(log, &["SEV-SNP", "failed to INIT"]))
        .or_else(|| log::find(log, &["SEV: failed to INIT"]))
        .or_else(|| log::find(log, &["timed out, disabling PSP"]))
}

pub fn old(signs: &Signs<'_>) -> Option<Missing> {
    const FIX: &str = "update the host's firmware (BIOS, and linux-firmware's amd/ files)";
    if let Some(line) = signs.log_has(&["requires firmware version"]) {
        return Some(Missing::new(format!("the kernel's log has \"{line}\""), FIX));
    }
    // `SEV API:1.49 build:3`; of two lines the later counts, after an update of the firmware.
    let line = signs.log_has(&["API:", "build:"])?;
    let api = version(line.split_once("API:")?.1)?;
    (api < OLDEST).then(|| {
        let what = format!("the PSP's firmware is of API {}.{}", api.0, api.1);
        Missing::new(what, FIX)
    })
}

/// A log line that may explain it, if no known one does.
pub fn hint<'a>(signs: &Signs<'a>) -> Option<&'a str> {
    const NO: [&str; 5] = ["not ", "ailed", "nvalid", "isabl", "nable to"];
    let about = |line: &&str| ["SNP", "RMP"].iter().any(|name| line.contains(name));
    let mut lines = signs.log.lines().filter(about);
    lines.find(|line| NO.iter().any(|word| line.contains(word))).map(log::message)
}
