//! Tells the compiler where the eBPF object is: in GUESTREQ_EBPF, or where `cargo xtask build` leaves
//! it. Where it is not built yet an empty file takes its place, so that plain cargo and an editor can
//! do without xtask; the agent says then what is missing.

use std::{env, fs, path::PathBuf, process::exit};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=GUESTREQ_EBPF");
    println!("cargo:rustc-check-cfg=cfg(without_programs)");
    match object() {
        Ok(object) => {
            if fs::metadata(&object).is_ok_and(|file| file.len() == 0) {
                println!("cargo:rustc-cfg=without_programs");
            }
            println!("cargo:rerun-if-changed={}", object.display());
            println!("cargo:rustc-env=GUESTREQ_EBPF={}", object.display());
        }
        Err(error) => {
            println!("cargo:error={error}");
            exit(1);
        }
    }
}

fn object() -> Result<PathBuf, String> {
    if let Some(object) = env::var_os("GUESTREQ_EBPF").map(PathBuf::from) {
        let is_there = object.is_file();
        return if is_there { Ok(object) } else { Err(missing(&object)) };
    }
    let root = env::var_os("CARGO_MANIFEST_DIR").ok_or("build with cargo")?;
    let folder = PathBuf::from(root).join("../target/bpfel-unknown-none/release");
    let object = folder.join("guestreq-ebpf");
    if !object.is_file() {
        // There and not in OUT_DIR, so that cargo sees it change: it would rebuild each time for
        // a file that does not exist.
        let made = fs::create_dir_all(&folder).and_then(|()| fs::write(&object, ""));
        made.map_err(|error| format!("{}: {error}", object.display()))?;
    }
    Ok(object)
}

fn missing(object: &std::path::Path) -> String {
    format!("GUESTREQ_EBPF names {}, which is not there", object.display())
}
