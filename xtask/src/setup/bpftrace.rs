//! # Debian 13's bpftrace with its libraries
//!
//! For the comparison in benchmarks. It runs in a guest without libraries, with its own loader from
//! one folder.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::apt::Apt;
use super::cache::{self, Cache, digest};
use super::libraries;
use crate::progress;

const SUITE: &str = "trixie";
const PACKAGES: &[&str] = &[
    "bpftrace",
    "libbpf1",
    "libbpfcc",
    "libbsd0",
    "libc6",
    "libclang1-19",
    "libedit2",
    "libelf1t64",
    "libffi8",
    "libgcc-s1",
    "libllvm19",
    "liblzma5",
    "libmd0",
    "libsframe1",
    "libstdc++6",
    "libtinfo6",
    "libxml2",
    "libz3-4",
    "libzstd1",
    "zlib1g",
];

const PROGRAM: &str = "usr/bin/bpftrace";

/// A folder with `bpftrace`, `ld.so` and the libraries.
pub fn ensure(cache: &Cache, apt: &Apt) -> Result<PathBuf> {
    let key = digest(PACKAGES.iter().chain(&[SUITE]));
    cache.once(format!("bpftrace-{key}"), |part| {
        progress::step("fetch", "bpftrace", || {
            let tree = part.join("tree");
            fs::create_dir(&tree)?;
            let packages: Vec<_> = PACKAGES.iter().map(|name| format!("{name}/{SUITE}")).collect();
            apt.unpack(&packages, &tree)?;
            for (from, to) in [(PROGRAM, "bpftrace"), (libraries::LOADER, "ld.so")] {
                fs::copy(tree.join(from), part.join(to)).with_context(|| from.to_owned())?;
            }
            for library in libraries::of(PROGRAM, &tree)? {
                let from = tree.join(libraries::FOLDER).join(&library);
                // A link is followed.
                fs::copy(&from, part.join(&library)).with_context(|| library.clone())?;
            }
            cache::remove(&tree)
        })
    })
}
