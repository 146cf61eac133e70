//! # Observation
//!
//! From the records to the VMs that they belong to, the last seconds, events and losses.

pub mod journal;
pub mod losses;
pub mod processes;
pub mod ring_buffer;
pub mod tracked;
pub mod vms;
pub mod window;
