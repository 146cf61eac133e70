//! # What fuzzing calls
//!
//! One function for each kind of input that somebody else writes. Each asserts what has to
//! hold whatever the input is; what it feeds stands beside it, in a `fuzz.rs` of that module.
//! `fuzz/` calls them with what libFuzzer finds, and the tests with all that was found.

mod decisions;
mod message;

pub use self::{decisions::decisions, message::message};
pub use crate::{
    bpf::pins::inspect::fuzz::pins, config::fuzz::config, host::fuzz::processes,
    policy::fuzz::overrides, serve::fuzz::api,
};

#[cfg(test)]
mod tests;

/// Bytes of an input, one after the other; zeros once it has ended.
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (now, later) = self.0.split_at(N.min(self.0.len()));
        self.0 = later;
        let mut bytes = [0; N];
        bytes[..now.len()].copy_from_slice(now);
        bytes
    }

    pub fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.bytes())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

/// What people get to read is a line: no input breaks it, or draws on a terminal.
pub fn assert_a_line(text: &str) {
    assert!(!text.is_empty(), "nothing is said");
    assert!(!text.chars().any(char::is_control), "not one plain line: {text:?}");
}
