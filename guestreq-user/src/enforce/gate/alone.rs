//! # What the gate does without programs that answer it

use std::{fs, io};

use super::{MODULE, PARAMETERS};
use crate::host::system::System;

/// What becomes of requests where nobody answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alone {
    /// There is no gate.
    NoGate,
    Open,
    Closed,
    /// It cannot be seen, and why.
    Unknown(String),
}

impl Alone {
    /// Looked at whatever the backend, and whatever protocol the gate speaks.
    pub fn of(system: &System) -> Alone {
        // A container that is shown no modules would see no gate, either.
        if let Err(error) = fs::read_dir(system.path("/sys/module")) {
            return Alone::Unknown(format!("/sys/module: {error}"));
        }
        let path = format!("{PARAMETERS}/closed");
        match system.read(&path).as_deref() {
            Ok("Y") => Alone::Closed,
            Ok("N") => Alone::Open,
            Ok(other) => Alone::Unknown(format!("{path} is {other:?}")),
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && !system.exists(&format!("/sys/module/{MODULE}")) =>
            {
                Alone::NoGate
            }
            Err(error) => Alone::Unknown(format!("{path}: {error}")),
        }
    }

    /// What would come of ending our programs, if that is bad or may be.
    pub fn warning(&self) -> Option<String> {
        match self {
            Alone::NoGate | Alone::Open => None,
            Alone::Closed => Some(format!(
                "the gate is closed (closed=Y): without guestreq's programs every request of every \
                 VM is denied, and Linux guests never use a VMPCK again whose request was denied, \
                 until they are rebooted. Open it first (`echo N > {PARAMETERS}/closed`), or \
                 remove it (`modprobe -r {MODULE}`)"
            )),
            Alone::Unknown(why) => Some(format!(
                "whether a closed gate is loaded cannot be seen ({why}): if one is, without \
                 guestreq's programs every request of every VM is denied, and Linux guests never \
                 use a VMPCK again whose request was denied, until they are rebooted"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_neither_open_nor_no_gate() {
        let root = tempfile::tempdir().unwrap();
        let alone = || Alone::of(&System::at(root.path()));
        assert!(matches!(alone(), Alone::Unknown(why) if why.starts_with("/sys/module: ")));
        let module = root.path().join("sys/module/guestreq_gate");
        fs::create_dir_all(module.parent().unwrap()).unwrap();
        assert_eq!(alone(), Alone::NoGate);
        fs::create_dir_all(module.join("parameters")).unwrap();
        assert!(matches!(alone(), Alone::Unknown(_)), "a gate that does not say");
        for (text, expected) in [("Y\n", Alone::Closed), ("N\n", Alone::Open)] {
            fs::write(module.join("parameters/closed"), text).unwrap();
            assert_eq!(alone(), expected);
        }
        fs::write(module.join("parameters/closed"), "").unwrap();
        assert!(matches!(alone(), Alone::Unknown(_)), "half read");
        assert_eq!((Alone::Open.warning(), Alone::NoGate.warning()), (None, None));
        for bad in [Alone::Closed, alone()] {
            let warning = bad.warning().unwrap();
            assert!(warning.contains("every request of every VM is denied"), "{warning}");
        }
    }
}
