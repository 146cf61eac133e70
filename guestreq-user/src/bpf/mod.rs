//! # The BPF programs and their maps
//!
//! Loads, attaches and pins the programs, and reads and writes the records that they share with
//! the agent.

pub mod kernel_constants;
pub mod perf;
pub mod pins;
pub mod programs;
pub mod realtime;
pub mod records;
