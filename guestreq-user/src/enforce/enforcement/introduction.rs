//! # The gate's identity, where the programs read it

use std::mem::offset_of;

use guestreq_common::{gate::Weight, host::EnforcementRecord};

use crate::{bpf::records::Records, enforce::gate::Gate};

/// Tells the programs which gate they answer, if any.
pub fn introduce(records: &Records, gate: Option<&Gate>) {
    const FILE: usize = offset_of!(EnforcementRecord, gate_file);
    const COOKIE: usize = offset_of!(EnforcementRecord, gate_cookie);
    const WEIGHTS: usize = offset_of!(EnforcementRecord, gate_weights);
    let (file, cookie) = gate.map_or((0, 0), |gate| (gate.file, gate.cookie));
    let weights = if gate.is_some_and(Gate::knows_weights) { Weight::MAX } else { 0 };
    // Unchanged values of an earlier agent are not cleared even for a moment.
    if (records.enforcement(FILE), records.enforcement(COOKIE)) != (file, cookie) {
        // The programs must not see the file with another gate's cookie or weights.
        records.set_enforcement(FILE, 0);
        records.set_enforcement(COOKIE, cookie);
    }
    records.set_enforcement(WEIGHTS, u64::from(weights));
    records.set_enforcement(FILE, file);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::bpf::records::tests::in_memory;

    #[test]
    fn only_a_gate_that_knows_weights_gets_any() {
        let records = in_memory(1, 1);
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        for (name, text) in [("protocol", "1"), ("file", "0x10"), ("cookie", "0x5")] {
            write(name, text);
        }
        let written = |gate: Option<&Gate>| {
            introduce(&records, gate);
            let enforcement = &records.host().unwrap().enforcement;
            (enforcement.gate_file, enforcement.gate_cookie, enforcement.gate_weights)
        };
        let gate = || Gate::at(folder.path().to_owned(), 7).unwrap();
        assert_eq!(written(Some(&gate())), (0x10, 5, 0), "of protocol 1");
        write("protocol_newest", "2");
        write("file", "0x20");
        assert_eq!(written(Some(&gate())), (0x20, 5, 0xff));
        fs::remove_file(folder.path().join("protocol_newest")).unwrap();
        write("file", "0x30");
        assert_eq!(written(Some(&gate())), (0x30, 5, 0), "an older one is loaded");
        assert_eq!(written(None), (0, 0, 0));
    }
}
