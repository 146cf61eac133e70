//! # eBPF builds need core's source and a linker besides the stable toolchain
//!
//! bpf-linker 0.10 uses rustc's own LLVM; later ones need another one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::apt::Apt;
use super::cache::Cache;
use crate::{process, progress};

const LINKER: &str = "0.10.4";

/// How to call cargo for the eBPF target.
pub struct EbpfTools {
    linker: PathBuf,
    /// The path of core's source, if not in the toolchain.
    source: Option<PathBuf>,
}

impl EbpfTools {
    pub fn ensure(cache: &Cache) -> Result<Self> {
        let rustc = |arguments: &[&str]| {
            process::output(Command::new("rustc").args(arguments))
                .context("no Rust toolchain on the PATH")
        };
        let sysroot = rustc(&["--print", "sysroot"])?;
        let version = rustc(&["--version"])?;
        let version = version.split(' ').nth(1).unwrap_or_default();
        let source = source(cache, Path::new(sysroot.trim()), version)?;
        Ok(Self { linker: linker(cache, version)?, source })
    }

    /// Configures `cargo`: the stable compiler with unstable flags enabled.
    pub fn apply(&self, cargo: &mut Command) {
        cargo
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        if let Some(source) = &self.source {
            cargo.env("__CARGO_TESTS_ONLY_SRC_ROOT", source);
        }
    }
}

/// core's source for this rustc: the toolchain's, rustup's, or Debian's.
fn source(cache: &Cache, sysroot: &Path, version: &str) -> Result<Option<PathBuf>> {
    let own = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    let kept = format!("rust-src-{version}");
    if own.exists() {
        return Ok(None);
    }
    if !cache.path(&kept).exists() {
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "add", "rust-src"]);
        let log = cache.log("rust-src.log");
        let done =
            progress::step("rustup", "component rust-src", || process::logged(&mut rustup, &log));
        if done.is_ok() && own.exists() {
            return Ok(None);
        }
    }
    let dir = cache.once(&kept, |part| from_debian(cache, version, part)).with_context(|| {
        format!(
            "no source of core for rustc {version}: `rustup component add rust-src` failed, too"
        )
    })?;
    Ok(Some(dir.join(format!("usr/src/rustc-{version}/library"))))
}

fn from_debian(cache: &Cache, version: &str, part: &Path) -> Result<()> {
    let apt = Apt::open(cache)?;
    let offers = apt.offers("rust-src", |name| name == "rust-src")?;
    let offer = offers
        .iter()
        .find(|offer| offer.version.starts_with(&format!("{version}+")))
        .with_context(|| format!("Debian has no rust-src {version}"))?;
    progress::step("fetch", &format!("rust-src {} from {}", offer.version, offer.suite), || {
        apt.unpack(&[format!("rust-src={}", offer.version)], part)
    })
}

fn linker(cache: &Cache, version: &str) -> Result<PathBuf> {
    // Bound to the LLVM of the rustc that builds it.
    let dir = cache.once(format!("bpf-linker-{LINKER}-rustc-{version}"), |part| {
        progress::step("install", &format!("bpf-linker {LINKER}"), || {
            let mut install = process::cargo("install");
            install.args(["bpf-linker", "--locked", "--version", LINKER, "--root"]).arg(part);
            install.arg("--target-dir").arg(part.join("target"));
            // LLVM, which comes with rustc, does the work. The release profile's debug information
            // would double the build time.
            install.env("CARGO_PROFILE_RELEASE_DEBUG", "0");
            install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
            process::logged(&mut install, &cache.log("bpf-linker.log"))
                .with_context(|| format!("cannot install bpf-linker {LINKER}"))?;
            super::cache::remove(&part.join("target"))
        })
    })?;
    Ok(dir.join("bin/bpf-linker"))
}
