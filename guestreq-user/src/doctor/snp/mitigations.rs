//! # What the PSP's firmware was told to mend
//!
//! Newer kernels and firmware (SNP_VERIFY_MITIGATION, ABI 1.58) tell which mitigations the firmware
//! has, and which were verified; one bit each, whose meaning AMD's Security Bulletins tell.

use std::io;

use super::psp;
use crate::doctor::{Finding, Host, State};

const FOLDER: &str = "/sys/firmware/sev/vulnerabilities";

pub fn mitigations(host: &Host<'_>) -> Finding {
    // Every host has something there; runtimes put an empty folder over it.
    if host.system.list("/sys/firmware").is_empty() {
        return Finding::skip("/sys/firmware is hidden, as from a container: look on the host");
    }
    if !host.system.exists(FOLDER) {
        return Finding::skip(format!("this kernel or firmware does not tell: no {FOLDER}"));
    }
    // Each is a command to the PSP.
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
                io::ErrorKind::PermissionDenied => Finding::hidden("what is mitigated"),
                _ => Finding::skip(format!("{FOLDER}: {error}")),
            };
        }
    };
    let what = format!("supported {supported:#x}, verified {verified:#x}");
    let left = supported & !verified;
    if left == 0 {
        return Finding::pass(what);
    }
    // One at a time is taken.
    let first = left & left.wrapping_neg();
    Finding::warn(
        format!("{what}: {left:#x} is not verified"),
        format!(
            "what each bit takes is in AMD's Security Bulletins; then \
             `echo {first:#x} > {FOLDER}/verified_mitigations`, one bit at a time"
        ),
    )
}
