//! # Servers: metrics and health over TCP, the API over a unix socket

mod answer;
mod body;
mod control;
mod explain;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod json;
mod launches;
mod listener;
mod overview;
mod peer;
mod report;
pub mod server;
mod socket;
mod status;
mod stream;
mod unread;
