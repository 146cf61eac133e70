//! # The gate, from user space
//!
//! A kernel module whose parameters show its identity and counters, and start its self-test.

mod alone;
pub mod order;
mod weights;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Error, Result, bail, ensure};
use guestreq_common::gate::{PROTOCOL, PROTOCOL_OF_WEIGHTS, PROTOCOL_OLDEST};

pub use alone::Alone;
pub use weights::{missing as missing_for_weights, no_weights};

use crate::{
    bpf::programs::module_identity,
    host::system::{self, Missing},
};

pub const MODULE: &str = "guestreq_gate";
pub const PARAMETERS: &str = "/sys/module/guestreq_gate/parameters";
/// What identifies the gate to programs, and proves that it is the gate: for nobody else.
pub const SECRET_PARAMETERS: [&str; 3] = ["cookie", "file", "self_test"];
/// The kernel function that the gate hooks.
pub const HOOKED: &str = "sev_issue_cmd_external_user";

/// A loaded gate.
pub struct Gate {
    parameters: PathBuf,
    /// Differs for each load of the module.
    pub identity: u64,
    pub file: u64,
    pub cookie: u64,
    /// The newest protocol that it and we speak.
    protocol: u64,
}

impl Gate {
    /// Fails unless a gate that speaks one of our protocols is loaded.
    pub fn find() -> Result<Gate> {
        let identity = module_identity(MODULE).ok_or_else(not_loaded)?;
        Gate::at(system::host().path(PARAMETERS), identity)
    }

    pub(super) fn at(parameters: PathBuf, identity: u64) -> Result<Gate> {
        let protocol = Protocols::read(&parameters)?.common()?;
        let file = read_number(&parameters.join("file"))?;
        let cookie = read_number(&parameters.join("cookie"))?;
        // The parameters exist before the file is open, and a moment longer than it.
        ensure!(file != 0 && cookie != 0, "the gate is being loaded, or removed");
        Ok(Gate { identity, file, cookie, protocol, parameters })
    }

    /// Whether it is still loaded, and was not reloaded.
    pub fn is_loaded(&self) -> bool {
        module_identity(MODULE) == Some(self.identity)
    }

    /// Whether an answer may have a weight.
    pub fn knows_weights(&self) -> bool {
        self.protocol >= PROTOCOL_OF_WEIGHTS
    }

    /// Queries that no program answered.
    pub fn unanswered(&self) -> Result<u64> {
        read_number(&self.parameters.join("unanswered"))
    }

    /// Makes the gate send a query with this nonce; returns the answer it got.
    pub fn self_test(&self, nonce: u64) -> Result<String> {
        let path = self.parameters.join("self_test");
        fs::write(&path, nonce.to_string()).map_err(|error| refused(&path, error))?;
        let text = read(&path)?;
        match text.trim().split_once(' ') {
            Some((sent, answer)) if sent == nonce.to_string() => Ok(answer.to_owned()),
            _ => bail!("{}: another process' self-test: {:?}", path.display(), text.trim()),
        }
    }
}

pub fn not_loaded() -> Missing {
    let fix = format!(
        "build it (`make -C gate`, or DKMS), then `modprobe {MODULE}`; or choose backend = \"vcpu\""
    );
    Missing::new("the gate is not loaded", fix)
}

/// The protocols that a gate speaks: all from the oldest to the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    oldest: u64,
    newest: u64,
}

impl Protocols {
    /// By the gate's parameters. A gate of protocol 1 only says which one it speaks.
    pub fn read(parameters: &Path) -> Result<Protocols> {
        let oldest = read_number(&parameters.join("protocol"))?;
        let newest = parameters.join("protocol_newest");
        let newest = if newest.exists() { read_number(&newest)? } else { oldest };
        Ok(Protocols { oldest, newest })
    }

    /// The newest one that we speak, too.
    pub fn common(self) -> Result<u64, Missing> {
        let Protocols { oldest, newest } = self;
        let common = newest.min(PROTOCOL);
        if common >= oldest.max(PROTOCOL_OLDEST) {
            return Ok(common);
        }
        let speaks = |oldest, newest| match oldest == newest {
            true => format!("{newest}"),
            false => format!("{oldest} to {newest}"),
        };
        let what = format!(
            "the loaded gate speaks protocol {}, this guestreq {}",
            speaks(oldest, newest),
            speaks(PROTOCOL_OLDEST, PROTOCOL)
        );
        let fix = if oldest > PROTOCOL {
            "the gate is newer: upgrade guestreq"
        } else {
            "the gate is older: upgrade it, then `modprobe -r guestreq_gate` and `modprobe guestreq_gate`"
        };
        Err(Missing::new(what, fix))
    }
}

/// A decimal number, or a hexadecimal one with 0x.
pub fn read_number(path: &Path) -> Result<u64> {
    let text = read(path)?;
    parse_number(text.trim()).with_context(|| format!("{}: {:?}", path.display(), text.trim()))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| refused(path, error))
}

/// Some parameters need a capability that root may lack.
fn refused(path: &Path, error: io::Error) -> Error {
    let path = format!("{}", path.display());
    let denied = error.raw_os_error() == Some(libc::EPERM);
    let capability = match path.rsplit('/').next() {
        // The last one is the list of waiting requests in /proc.
        Some("file" | "cookie" | MODULE) if denied => "CAP_SYSLOG",
        Some("depth") if denied => "CAP_SYS_ADMIN",
        Some("self_test") if denied => "CAP_BPF",
        _ => return Error::new(error).context(path),
    };
    Missing::new(format!("the gate denies access to {path}"), format!("grant {capability}")).into()
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
    fn a_gate_of_another_version_is_reported_and_an_unloaded_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let find = || Gate::at(folder.path().to_owned(), 7).map_err(|error| format!("{error:#}"));
        assert!(find().err().unwrap().contains("protocol"), "what is missing is named");
        for (name, text) in [("protocol", "3\n"), ("file", "0x0\n"), ("cookie", "0x5\n")] {
            write(name, text);
        }
        assert!(find().err().unwrap().contains("speaks protocol 3, this guestreq 1 to 2"));
        write("protocol", "1\n");
        assert!(find().err().unwrap().contains("being loaded"));
        write("file", "0xffff888003a1b200\n");
        let gate = find().unwrap();
        assert_eq!((gate.file, gate.cookie), (0xffff_8880_03a1_b200, 5));
        let protocol = || Protocols::read(folder.path()).unwrap().common();
        assert_eq!(protocol(), Ok(1), "a gate without protocol_newest");
        write("protocol_newest", "2\n");
        assert_eq!(protocol(), Ok(2));
    }

    #[test]
    fn gate_and_guestreq_speak_the_newest_protocol_of_both() {
        let common = |oldest, newest| {
            Protocols { oldest, newest }.common().map_err(|missing| missing.to_string())
        };
        assert_eq!(common(1, 1), Ok(1), "an older gate");
        assert_eq!(common(1, 2), Ok(2), "of the same release");
        assert_eq!(common(2, 7), Ok(2), "a newer gate that still serves ours");
        let newer = common(3, 4).unwrap_err();
        assert!(newer.contains("protocol 3 to 4, this guestreq 1 to 2"), "{newer}");
        assert!(newer.contains("upgrade guestreq"), "{newer}");
        let older = common(0, 0).unwrap_err();
        assert!(older.contains("the gate is older: upgrade it"), "{older}");
    }

    #[test]
    fn a_missing_capability_is_named() {
        let message = |name: &str, errno| {
            let path = Path::new(PARAMETERS).join(name);
            format!("{:#}", refused(&path, io::Error::from_raw_os_error(errno)))
        };
        for (name, capability) in [
            ("file", "CAP_SYSLOG"),
            ("cookie", "CAP_SYSLOG"),
            ("self_test", "CAP_BPF"),
            ("depth", "CAP_SYS_ADMIN"),
        ] {
            assert_eq!(
                message(name, libc::EPERM),
                format!("the gate denies access to {PARAMETERS}/{name}: grant {capability}")
            );
            // By the file's mode: none of these capabilities helps.
            assert!(!message(name, libc::EACCES).contains(capability));
        }
        assert!(!message("unanswered", libc::EPERM).contains("grant"));
    }

    #[test]
    fn numbers_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_number("0xffff888003a1b200"), Some(0xffff_8880_03a1_b200));
        assert_eq!(parse_number("12"), Some(12));
        assert_eq!(parse_number("(null)"), None);
    }
}
