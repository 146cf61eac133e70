//! # Fuzz targets
//!
//! One function for each kind of untrusted input, in a `fuzz.rs` of the module that reads it. Each
//! asserts what must hold for any input. `fuzz/` calls them with libFuzzer's inputs, the tests with
//! those found so far.

mod decisions;
mod message;

pub use self::{decisions::decisions, message::message};
pub use crate::{
    bpf::pins::inspect::fuzz::pins, config::fuzz::config, host::fuzz::processes,
    policy::fuzz::overrides, serve::fuzz::api,
};

#[cfg(test)]
mod tests;

/// Reads an input; zeros after its end.
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

/// Fails unless a message is one line without control characters.
pub fn assert_a_line(text: &str) {
    assert!(!text.is_empty(), "an empty message");
    assert!(!text.chars().any(char::is_control), "not one plain line: {text:?}");
}
