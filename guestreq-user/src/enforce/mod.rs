//! # Enforcement
//!
//! Writes policies into the records, connects the programs to the backend, and self-tests both each
//! second.

pub mod denial;
pub mod enforcement;
pub mod gate;
pub mod order;
pub mod policies;
mod recent_increase;
