//! # Whether weights have an effect

use anyhow::Result;
use guestreq_common::{gate::PROTOCOL_OF_WEIGHTS, policy::Backend};

use super::{MODULE, PARAMETERS, Protocols, not_loaded, read_number};
use crate::{
    host::system::{Missing, System},
    policy::without_order,
};

/// Why a weight has no effect on this host, and what would change that.
pub fn no_weights(backend: Backend, system: &System) -> Option<String> {
    if let Some(why) = without_order(backend) {
        return Some(why);
    }
    match missing(system) {
        Ok(None) => None,
        Ok(Some(missing)) => Some(format!("a weight has no effect: {missing}")),
        Err(error) => Some(format!("cannot tell whether a weight has an effect: {error:#}")),
    }
}

/// What the gate lacks.
pub fn missing(system: &System) -> Result<Option<Missing>> {
    if !system.exists(&format!("/sys/module/{MODULE}")) {
        return Ok(Some(not_loaded()));
    }
    let parameters = system.path(PARAMETERS);
    let common = match Protocols::read(&parameters)?.common() {
        Ok(common) => common,
        Err(missing) => return Ok(Some(missing)),
    };
    if common < PROTOCOL_OF_WEIGHTS {
        return Ok(Some(Missing::new(
            format!("the loaded gate speaks protocol {common}, which has no weights"),
            format!("upgrade it, then `modprobe -r {MODULE}` and `modprobe {MODULE}`"),
        )));
    }
    let off = read_number(&parameters.join("depth"))? == 0;
    Ok(off.then(|| {
        Missing::new("the gate's order is off (depth=0)", format!("`echo 1 > {PARAMETERS}/depth`"))
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_weight_needs_a_gate_that_knows_weights_and_has_an_order() {
        let root = tempfile::tempdir().unwrap();
        let parameters = root.path().join("sys/module/guestreq_gate/parameters");
        let why = |backend| no_weights(backend, &System::at(root.path())).unwrap_or_default();
        let write = |name: &str, text: &str| {
            fs::create_dir_all(&parameters).unwrap();
            fs::write(parameters.join(name), text).unwrap();
        };
        assert!(why(Backend::Gate).contains("no effect: the gate is not loaded: build it"));
        write("protocol", "1\n");
        let old = why(Backend::Gate);
        assert!(old.contains("speaks protocol 1, which has no weights: upgrade it"), "{old}");
        write("protocol_newest", "2\n");
        assert!(why(Backend::Gate).starts_with("cannot tell whether"), "a gate without depth");
        write("depth", "0\n");
        assert!(why(Backend::Gate).contains("order is off (depth=0): `echo 1 > "));
        write("depth", "3\n");
        assert_eq!(why(Backend::Gate), "");
        write("protocol", "7\n");
        write("protocol_newest", "7\n");
        assert!(why(Backend::Gate).contains("the gate is newer: upgrade guestreq"));
        for backend in [Backend::Vcpu, Backend::None] {
            let name = backend.name();
            assert!(
                why(backend).starts_with(&format!("a weight has no effect with backend {name}"))
            );
        }
    }
}
