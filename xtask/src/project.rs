//! # Paths in the working tree

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub const HOST: &str = "x86_64-unknown-linux-gnu";
pub const BPF: &str = "bpfel-unknown-none";

/// The root of the working tree.
///
/// Cargo passes it: a shared target directory may hold a binary built in another clone.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let built_in = || env!("CARGO_MANIFEST_DIR").into();
        let xtask: PathBuf =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(built_in, From::from);
        xtask.parent().unwrap_or(&xtask).to_path_buf()
    })
}

/// Cargo's target directory, which holds everything that is built.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |d| root().join(d))
}

/// The eBPF object, where guestreq's build script looks for it.
pub fn ebpf_object() -> PathBuf {
    root().join("target").join(BPF).join("release/guestreq-ebpf")
}

/// Features of guestreq-ebpf that build objects of pretended other versions.
pub const OTHER_EBPF: [&str; 2] = ["other-programs", "other-entries"];

/// The object of one of [`OTHER_EBPF`].
pub fn other_ebpf_object(feature: &str) -> PathBuf {
    ebpf_object().with_file_name(format!("guestreq-ebpf-{feature}"))
}

/// Programs that only the rig runs, each of a package of its name.
pub const RIG_PROGRAMS: [&str; 2] = ["snpload", "scenarios"];

/// Where they are built.
pub fn rig_target() -> PathBuf {
    target().join("rig-programs")
}

/// A static release binary of one of the workspace's packages.
pub fn static_binary(name: &str) -> PathBuf {
    let target = if RIG_PROGRAMS.contains(&name) { rig_target() } else { target() };
    target.join(HOST).join("release").join(name)
}

/// Full logs of steps and of guests.
pub fn logs() -> PathBuf {
    target().join("rig")
}
