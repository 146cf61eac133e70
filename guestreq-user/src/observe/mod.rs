//! # Observation
//!
//! VMs by their records, launches, recent rates, events, losses and overdue requests.

pub mod journal;
pub mod launches;
pub mod losses;
pub mod lost_vmpcks;
pub mod overdue;
pub mod processes;
pub mod psp_watch;
pub mod ring_buffer;
pub mod tracked;
pub mod vms;
pub mod window;
