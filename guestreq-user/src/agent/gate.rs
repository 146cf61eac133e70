//! # The gate, from user space
//!
//! A kernel module whose state stands in its parameters: who it is known by, what
//! it counted, and a question that root may have it ask.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use guestreq_common::gate::PROTOCOL;

use super::programs::module_identity;

pub const MODULE: &str = "guestreq_gate";

/// A gate that is loaded.
pub struct Gate {
    parameters: PathBuf,
    /// A gate that is loaded anew is another one.
    pub identity: u64,
    pub file: u64,
    pub cookie: u64,
}

/// What it decides where nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    Open,
    Closed,
}

impl Gate {
    /// The gate, if one is loaded that speaks our protocol.
    pub fn find() -> Result<Gate> {
        let Some(identity) = module_identity(MODULE) else {
            bail!(
                "the gate is not loaded: build it (`make -C gate`, or DKMS), then \
                 `modprobe {MODULE}`; or choose backend = \"vcpu\""
            );
        };
        let parameters = PathBuf::from(format!("/sys/module/{MODULE}/parameters"));
        let protocol = read_number(&parameters.join("protocol"))?;
        if protocol != PROTOCOL {
            bail!(
                "the gate that is loaded speaks protocol {protocol}, this guestreq {PROTOCOL}: \
                 load the gate of the same release"
            );
        }
        Ok(Gate {
            identity,
            file: read_number(&parameters.join("file"))?,
            cookie: read_number(&parameters.join("cookie"))?,
            parameters,
        })
    }

    /// Whether it is still the one that was found.
    pub fn is_loaded(&self) -> bool {
        module_identity(MODULE) == Some(self.identity)
    }

    /// Questions that nobody answered.
    pub fn unanswered(&self) -> Result<u64> {
        read_number(&self.parameters.join("unanswered"))
    }

    pub fn when_unanswered(&self) -> Result<Unanswered> {
        let path = self.parameters.join("closed");
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        Ok(if text.trim() == "Y" { Unanswered::Closed } else { Unanswered::Open })
    }

    /// Has it ask a question of ours; what it was answered.
    pub fn ask(&self, nonce: u64) -> Result<String> {
        let path = self.parameters.join("self_test");
        let name = || format!("{}", path.display());
        fs::write(&path, nonce.to_string()).with_context(name)?;
        let text = fs::read_to_string(&path).with_context(name)?;
        match text.trim().split_once(' ') {
            Some((asked, answer)) if asked == nonce.to_string() => Ok(answer.to_owned()),
            // Somebody else had it ask since.
            _ => bail!("{}: not our question's answer: {:?}", path.display(), text.trim()),
        }
    }
}

/// A decimal number, or a hexadecimal one with 0x.
fn read_number(path: &Path) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    parse_number(text.trim()).with_context(|| format!("{}: {:?}", path.display(), text.trim()))
}

fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_number("0xffff888003a1b200"), Some(0xffff_8880_03a1_b200));
        assert_eq!(parse_number("12"), Some(12));
        assert_eq!(parse_number("(null)"), None);
    }
}
