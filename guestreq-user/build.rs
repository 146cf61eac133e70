//! Tells the compiler where the eBPF object is: in GUESTREQ_EBPF, or where
//! `cargo xtask build` leaves it.

use std::{env, path::PathBuf, process::exit};

fn main() {
    println!("cargo:rerun-if-env-changed=GUESTREQ_EBPF");
    let built = || {
        let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
        Some(root.join("../target/bpfel-unknown-none/release/guestreq-ebpf"))
    };
    let Some(object) = env::var_os("GUESTREQ_EBPF").map(PathBuf::from).or_else(built) else {
        println!("cargo:error=CARGO_MANIFEST_DIR is not set: build with cargo");
        exit(1);
    };
    println!("cargo:rerun-if-changed={}", object.display());
    if !object.is_file() {
        println!(
            "cargo:error=there is no eBPF object at {}: `cargo xtask build` makes it",
            object.display()
        );
        exit(1);
    }
    println!("cargo:rustc-env=GUESTREQ_EBPF={}", object.display());
}
