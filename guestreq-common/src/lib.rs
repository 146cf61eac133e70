//! # guestreq-common
//!
//! What the eBPF programs and the agent agree on: the guest message header and
//! its types, the secure processor's commands and statuses, the records that
//! stand in maps, and every decision that is taken on them. The programs in
//! `guestreq-ebpf` are thin functions over this crate, so that the code the
//! kernel runs is the code that is tested natively.
//!
//! No dependencies, no allocation, no panics. What a BPF program calls is
//! `#[inline(always)]`: the verifier wants to see bounds where they are used.

#![cfg_attr(not(test), no_std)]

pub mod command;
pub mod event;
pub mod gate;
pub mod gcra;
pub mod ghcb;
pub mod histogram;
pub mod hook;
pub mod host;
pub mod message;
#[cfg(test)]
mod names;
pub mod outcome;
#[cfg(test)]
mod pinned;
pub mod policy;
pub mod request;
pub mod sequence;
pub mod vm;

/// Changes whenever a record in a map changes its meaning or its layout; a test (`pinned`) sees to it.
pub const SCHEMA: u32 = 8;
