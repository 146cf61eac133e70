//! # Debian 13's bpftrace with its libraries
//!
//! For the comparison in benchmarks. It runs in a guest without libraries, with its own loader from
//! one folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::Apt;
use super::cache::{self, Cache};
use crate::{process, progress};

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
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// A folder with `bpftrace`, `ld.so` and the libraries.
pub fn ensure(cache: &Cache, apt: &Apt) -> Result<PathBuf> {
    cache.once("bpftrace", |part| {
        progress::step("fetch", "bpftrace", || {
            let tree = part.join("tree");
            fs::create_dir(&tree)?;
            let packages: Vec<_> = PACKAGES.iter().map(|name| format!("{name}/{SUITE}")).collect();
            apt.unpack(&packages, &tree)?;
            for (from, to) in [(PROGRAM, "bpftrace"), (LOADER, "ld.so")] {
                fs::copy(tree.join(from), part.join(to)).with_context(|| from.to_owned())?;
            }
            for library in libraries(&tree)? {
                let from = tree.join(LIBRARIES).join(&library);
                // A link is followed.
                fs::copy(&from, part.join(&library)).with_context(|| library.clone())?;
            }
            cache::remove(&tree)
        })
    })
}

/// The program's libraries, as the loader finds them.
fn libraries(tree: &Path) -> Result<Vec<String>> {
    let mut list = Command::new("chroot");
    list.arg(tree).arg(format!("/{LOADER}"));
    list.args(["--library-path", &format!("/{LIBRARIES}"), "--list", &format!("/{PROGRAM}")]);
    parse(&process::output(&mut list)?)
}

/// Lines `NAME => PATH (ADDRESS)`, or `NAME => not found`.
fn parse(list: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (name, path) in list.lines().filter_map(|line| line.trim().split_once(" => ")) {
        if path == "not found" {
            bail!("bpftrace needs {name}, which is in none of the packages that are unpacked");
        }
        if !name.starts_with('/') {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_libraries_are_copied_and_missing_ones_reported() {
        let list = "\tlinux-vdso.so.1 (0x7ff)\n\tlibz.so.1 => /usr/lib/libz.so.1 (0x7f6)\n\
                    \t/lib64/ld-linux-x86-64.so.2 => /usr/lib64/ld-linux-x86-64.so.2 (0x7f7)\n";
        assert_eq!(parse(list).unwrap(), ["libz.so.1"]);
        let error = parse("\tliba.so => not found\n").unwrap_err();
        assert!(error.to_string().contains("needs liba.so"), "{error}");
    }
}
