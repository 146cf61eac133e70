//! # Serving
//!
//! Metrics and health over TCP; HTTP/JSON over a unix socket, for the command line.

mod answer;
mod body;
mod control;
mod explain;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod json;
mod listener;
mod overview;
mod peer;
mod report;
pub mod server;
mod socket;
mod status;
mod stream;
mod unread;
