//! # vmlinuz, uncompressed modules and BTF from Debian's kernel packages

mod files;

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use btf_rs::utils::elf;
use files::Files;

use super::toolroot::Toolroot;

/// Modules that a guest loads; their dependencies are added.
pub const MODULES: &[&str] = &["irqbypass", "kvm", "kvm-amd", "ccp"];
/// Those that only Debian's kernels have: the demo's network, and what container runtimes need.
const OF_DEBIAN: &[&str] = &["e1000", "overlay", "veth"];

/// Lists the modules that were wanted when a kernel was unpacked.
const WANTED: &str = "modules.wanted";

/// Whether a kernel was unpacked by an xtask that wanted other modules.
pub fn is_outdated(kernel: &Path) -> bool {
    kernel.exists()
        && !fs::read_to_string(kernel.join(WANTED)).is_ok_and(|it| it == wanted().join("\n"))
}

fn wanted() -> Vec<&'static str> {
    [MODULES, OF_DEBIAN].concat()
}

/// Copies from the unpacked packages in `tree` to `dest`.
pub fn kernel(tools: &Toolroot, tree: &Path, dest: &Path) -> Result<()> {
    files(tools, tree, &wanted(), dest)?;
    let elf = dest.join("vmlinux");
    decompress_payload(tools, &dest.join("vmlinuz"), &elf)?;
    types(&elf, dest)?;
    fs::remove_file(elf)?;
    Ok(())
}

/// Copies vmlinuz and modules from anywhere in `tree`.
pub fn files(tools: &Toolroot, tree: &Path, names: &[&str], dest: &Path) -> Result<()> {
    let files = Files::below(tree)?;
    let vmlinuz = files
        .starting_with("vmlinuz")
        .with_context(|| format!("no vmlinuz in {}", tree.display()))?;
    fs::copy(vmlinuz, dest.join("vmlinuz"))?;

    fs::write(dest.join(WANTED), names.join("\n"))?;
    fs::create_dir(dest.join("modules"))?;
    let mut order = Vec::new();
    for name in names {
        module(tools, &files, name, &dest.join("modules"), &mut order)?;
    }
    Ok(())
}

/// Copies modules from anywhere in `tree`, and what they depend on. Returns their names in the order
/// in which they can be loaded.
pub fn modules(tools: &Toolroot, tree: &Path, names: &[&str], dest: &Path) -> Result<Vec<String>> {
    let files = Files::below(tree)?;
    let mut order = Vec::new();
    for name in names {
        module(tools, &files, name, dest, &mut order)?;
    }
    Ok(order)
}

fn module(
    tools: &Toolroot,
    files: &Files,
    name: &str,
    dest: &Path,
    order: &mut Vec<String>,
) -> Result<()> {
    let Some(path) = files.module(name) else {
        ensure!(files.is_built_in(name)?, "the kernel's packages have no module {name}");
        return Ok(());
    };
    if order.iter().any(|it| it == name) {
        return Ok(());
    }
    let ko = dest.join(format!("{name}.ko"));
    decompress(tools, path, &ko)?;
    for dependency in dependencies(&fs::read(&ko)?) {
        module(tools, files, &dependency, dest, order)?;
    }
    order.push(name.to_owned());
    Ok(())
}

/// Writes the BTF of the kernel `elf` and of the modules in `dest`. What is built in has its types
/// among the kernel's.
pub fn types(elf: &Path, dest: &Path) -> Result<()> {
    let btf = dest.join("btf");
    fs::create_dir(&btf)?;
    fs::write(btf.join("vmlinux"), elf::extract_btf_from_file(elf)?)?;
    for module in ["kvm", "kvm-amd", "ccp"] {
        let ko = dest.join("modules").join(format!("{module}.ko"));
        if !ko.exists() {
            continue;
        }
        let types = elf::extract_btf_from_file(&ko)
            .with_context(|| format!("no BTF in module {module} of this kernel"))?;
        fs::write(btf.join(module.replace('-', "_")), types)?;
    }
    Ok(())
}

/// The names in a module's `depends=`.
fn dependencies(ko: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = ko.windows(key.len()).position(|window| window == key) else { return vec![] };
    let value = ko[at + key.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|n| !n.is_empty()).map(|n| n.replace('_', "-")).collect()
}

/// Decompresses a file by its magic number, with the toolroot's tools.
fn decompress(tools: &Toolroot, from: &Path, to: &Path) -> Result<()> {
    let head = fs::read(from)?;
    let (program, options): (_, &[&str]) = match head.as_slice() {
        [0x7f, b'E', b'L', b'F', ..] => {
            fs::write(to, head)?;
            return Ok(());
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => ("xz", &["-dc", "--single-stream"]),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd", &["-dcq"]),
        _ => bail!("{}: neither ELF, xz nor zstd", from.display()),
    };
    let work = from.parent().unwrap_or(from);
    let status = tools
        .command(work, program)
        .args(options)
        .stdin(File::open(from)?)
        .stdout(File::create(to)?)
        .status()?;
    if !status.success() {
        bail!("{program} cannot decompress {}", from.display());
    }
    Ok(())
}

/// Unpacks the ELF kernel inside a bzImage.
///
/// <https://docs.kernel.org/arch/x86/boot.html>: `setup_sects`, `payload_offset`, `payload_length`.
fn decompress_payload(tools: &Toolroot, vmlinuz: &Path, to: &Path) -> Result<()> {
    let image = fs::read(vmlinuz)?;
    let word = |at: usize| {
        let bytes = image.get(at..at + 4).and_then(|b| b.try_into().ok())?;
        Some(u32::from_le_bytes(bytes) as usize)
    };
    let payload = || {
        let setup = match *image.get(0x1f1)? {
            0 => 4,
            sectors => usize::from(sectors),
        };
        let start = (setup + 1) * 512 + word(0x248)?;
        // The kernel's build appends the uncompressed length, which no decompressor expects.
        image.get(start..start + word(0x24c)?.checked_sub(4)?)
    };
    let payload = payload().with_context(|| format!("{}: not a bzImage", vmlinuz.display()))?;
    let compressed = to.with_extension("compressed");
    fs::write(&compressed, payload)?;
    decompress(tools, &compressed, to)?;
    fs::remove_file(compressed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_are_read_from_modinfo() {
        let ko = b"\x7fELF...license=GPL\0depends=kvm,irq_bypass\0retpoline=Y\0";
        assert_eq!(dependencies(ko), ["kvm", "irq-bypass"]);
        assert!(dependencies(b"license=GPL\0depends=\0").is_empty());
    }
}
