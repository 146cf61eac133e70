//! # guestreq-common
//!
//! What the eBPF programs and the agent share: message headers and types, PSP commands and
//! statuses, the records in maps, and all logic that updates them. The programs in `guestreq-ebpf` are
//! thin functions over this crate, so that the code the kernel runs is tested natively.
//!
//! No dependencies, no allocation, no panics. What a BPF program calls is `#[inline(always)]`: the
//! verifier must see bounds where they are used.

#![cfg_attr(not(test), no_std)]

#[macro_use]
mod names;

pub mod arithmetic;
pub mod command;
pub mod event;
pub mod gate;
pub mod gcra;
pub mod ghcb;
pub mod histogram;
pub mod host;
pub mod launch;
pub mod message;
pub mod outcome;
#[cfg(test)]
mod pinned;
pub mod policy;
pub mod request;
pub mod sequence;
pub mod share;
pub mod tail_calls;
pub mod turn;
pub mod units;
pub mod verifier;
pub mod vm;
pub mod waiting;

/// Changes with the layout or meaning of any record in a map; the test `pinned` checks this.
pub const SCHEMA: u32 = 12;
