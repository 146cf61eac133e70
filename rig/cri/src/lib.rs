//! # A kubelet's part in running a pod
//!
//! It reads an object as kubectl renders it and does with a container runtime what a kubelet on that
//! node would do, by the Container Runtime Interface: sandbox, init containers, containers, volumes,
//! probes, termination. What it does not know in a manifest is an error.
//!
//! The crate k8s-cri has all of the interface, but building it takes protoc, which neither an editor
//! nor a fresh clone has; so `messages` declares the part that is used.

mod folders;
mod kubelet;
mod manifest;
mod messages;
mod pod;
mod probe;
mod resources;
mod runtime;
mod security;
mod volumes;

pub use folders::project;
pub use kubelet::{Kubelet, Running};
pub use pod::Pod;
pub use probe::get;
pub use runtime::Runtime;
