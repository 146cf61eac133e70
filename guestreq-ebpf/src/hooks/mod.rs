//! # Hooks
//!
//! docs/architecture.md draws the order in which a request meets them.

mod command_end;
mod command_start;
mod file_ioctl;
mod guest_request;
mod issue_command;
mod thread_exit;
mod userspace_exit;
mod vmgexit_enter;
mod vmgexit_exit;
