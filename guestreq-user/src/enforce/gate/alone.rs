//! # What the gate does when no program answers it

use std::{fs, io};

use super::{MODULE, PARAMETERS};
use crate::host::system::System;

/// What happens to requests then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alone {
    NoGate,
    Open,
    Closed,
    /// With the reason.
    Unknown(String),
}

impl Alone {
    /// For all backends, and a gate of any protocol.
    pub fn of(system: &System) -> Alone {
        // A container may not see any modules.
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

    /// The harm of removing our programs, if there is or may be any.
    pub fn warning(&self) -> Option<String> {
        match self {
            Alone::NoGate | Alone::Open => None,
            Alone::Closed => Some(format!(
                "the gate is closed (closed=Y): without guestreq's programs every request of every \
                 VM is denied, and a Linux guest loses the VMPCK of a denied request until it is \
                 rebooted. Open it first (`echo N > {PARAMETERS}/closed`), or remove it \
                 (`modprobe -r {MODULE}`)"
            )),
            Alone::Unknown(why) => Some(format!(
                "cannot tell whether a closed gate is loaded ({why}): if one is, without \
                 guestreq's programs every request of every VM is denied, and a Linux guest loses \
                 the VMPCK of a denied request until it is rebooted"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_gate_is_neither_open_nor_absent() {
        let root = tempfile::tempdir().unwrap();
        let alone = || Alone::of(&System::at(root.path()));
        assert!(matches!(alone(), Alone::Unknown(why) if why.starts_with("/sys/module: ")));
        let module = root.path().join("sys/module/guestreq_gate");
        fs::create_dir_all(module.parent().unwrap()).unwrap();
        assert_eq!(alone(), Alone::NoGate);
        fs::create_dir_all(module.join("parameters")).unwrap();
        assert!(matches!(alone(), Alone::Unknown(_)), "a gate without its parameter");
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
