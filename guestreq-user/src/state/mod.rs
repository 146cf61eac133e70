//! # The state of a running agent
//!
//! Programs, enforcement, VMs, the current configuration and the log. The loop drives it, the
//! servers read it, policy changes alter it.

pub mod config_status;
mod events;
pub mod logger;
pub mod observer;
pub mod shared;
pub mod snapshot;
