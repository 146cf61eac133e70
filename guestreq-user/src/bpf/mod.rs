//! # The BPF programs and their maps
//!
//! Loads, attaches and pins the programs; reads and writes the records that the agent shares with
//! them.

pub mod kernel_constants;
mod kernel_word;
pub mod perf;
pub mod pins;
pub mod programs;
pub mod realtime;
pub mod records;
