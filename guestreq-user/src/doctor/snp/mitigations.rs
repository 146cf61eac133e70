//! # Mitigations of the PSP's firmware
//!
//! Newer kernels and firmware (SNP_VERIFY_MITIGATION, ABI 1.58) report supported and verified
//! mitigations, one bit each; AMD's Security Bulletins explain the bits.

use std::io;

use super::psp;
use crate::doctor::{Finding, Host, State};

const FOLDER: &str = "/sys/firmware/sev/vulnerabilities";

pub fn mitigations(host: &Host<'_>) -> Finding {
    // Empty only if a container runtime hides it.
    if host.system.list("/sys/firmware").is_empty() {
        return Finding::skip("/sys/firmware is hidden (container?): run on the host");
    }
    if !host.system.exists(FOLDER) {
        return Finding::skip(format!("not reported by this kernel or firmware: no {FOLDER}"));
    }
    // Each read is a command to the PSP.
    if !host.system.is_collected() && psp(host).state != State::Pass {
        return Finding::skip("the PSP does not answer");
    }
    let mask = |name: &str| {
        let text = host.system.read(&format!("{FOLDER}/{name}"))?;
        let digits = text.strip_prefix("0x").unwrap_or(&text);
        u64::from_str_radix(digits, 16)
            .map_err(|error| io::Error::other(format!("{name}: {text:?}: {error}")))
    };
    let (supported, verified) = match (mask("supported_mitigations"), mask("verified_mitigations"))
    {
        (Ok(supported), Ok(verified)) => (supported, verified),
        (Err(error), _) | (_, Err(error)) => {
            return match error.kind() {
                io::ErrorKind::PermissionDenied => Finding::hidden("mitigations"),
                _ => Finding::skip(format!("{FOLDER}: {error}")),
            };
        }
    };
    let what = format!("supported {supported:#x}, verified {verified:#x}");
    let left = supported & !verified;
    if left == 0 {
        return Finding::pass(what);
    }
    // The firmware accepts one bit at a time.
    let first = left & left.wrapping_neg();
    Finding::warn(
        format!("{what}: {left:#x} is not verified"),
        format!(
            "do what AMD's Security Bulletins ask for each bit, then \
             `echo {first:#x} > {FOLDER}/verified_mitigations`, one bit at a time"
        ),
    )
}
