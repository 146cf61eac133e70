//! # The state of a running agent
//!
//! Programs, enforcement and VMs in one place, with the configuration that holds and the log: what
//! the loop drives, the servers read and a change alters.

pub mod config_status;
mod events;
pub mod logger;
pub mod observer;
pub mod shared;
pub mod snapshot;
