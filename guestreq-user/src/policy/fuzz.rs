//! # The overrides' file, damaged in any way

#![allow(clippy::expect_used, reason = "as in tests: what is promised is asserted")]

use super::{Overrides, PolicySet};
use crate::{
    config::{Config, fuzz::in_the_kernel},
    fuzz::{Input, assert_a_line},
    host::Identity,
};

/// Input: how a file is damaged, then its content.
pub fn overrides(data: &[u8]) {
    let mut input = Input(data);
    let (at, with) = (input.u32() as usize, input.byte());
    let Some(kept) = read(input.0) else { return };
    let mut text = kept.to_bytes().expect("what was read cannot be written");
    assert_eq!(read(&text), Some(kept.clone()), "not read as it was written");
    can_be_used(kept);
    // A truncated file, or flipped bits.
    let at = at % text.len();
    if let Some(part) = read(&text[..at]) {
        assert_eq!(read(&text), Some(part), "a part of a file passes for one");
    }
    text[at] ^= with;
    if let Some(other) = read(&text) {
        can_be_used(other);
    }
}

/// Reads a file, or says why not.
fn read(bytes: &[u8]) -> Option<Overrides> {
    match Overrides::from_bytes(bytes) {
        Ok(overrides) => Some(overrides),
        Err(error) => {
            assert_a_line(&format!("{error:#}"));
            None
        }
    }
}

/// Each override applies to its VM.
fn can_be_used(overrides: Overrides) {
    let policy_set = Config::default().policy_set(overrides);
    in_the_kernel(&policy_set.default());
    for (key, set) in &policy_set.overrides.vms {
        let vm = PolicySet::absent(key);
        let policy = policy_set.resolve(&vm);
        in_the_kernel(&policy);
        if let Some(mode) = &set.mode {
            assert_eq!(policy.mode.value, mode.value, "the override of {key:?} is not its own");
        }
        if let Some(limit) = &set.limit {
            assert_eq!(policy.limit.value, limit.value, "the override of {key:?} is not its own");
        }
        if let Some(weight) = &set.weight {
            assert_eq!(policy.weight.value, weight.value, "the override of {key:?} is not its own");
        }
    }
    let nobody = Identity::default();
    assert!(
        policy_set.resolve(&nobody).mode.value.0 <= policy_set.strictest(),
        "stricter than the strictest"
    );
}
