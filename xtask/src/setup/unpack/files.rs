//! # The files of unpacked kernel packages

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Every file below a folder, by its name without `.xz` or `.zst` and with `-` for `_`.
pub struct Files(BTreeMap<String, PathBuf>);

impl Files {
    pub fn below(dir: &Path) -> Result<Self> {
        let mut files = Self(BTreeMap::new());
        files.add(dir)?;
        Ok(files)
    }

    fn add(&mut self, dir: &Path) -> Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.add(&entry.path())?;
            } else if entry.file_type()?.is_file() {
                let name = entry.file_name().to_string_lossy().replace('_', "-");
                let name = name.trim_end_matches(".xz").trim_end_matches(".zst").to_string();
                self.0.insert(name, entry.path());
            }
        }
        Ok(())
    }

    pub fn module(&self, name: &str) -> Option<&PathBuf> {
        self.0.get(&format!("{name}.ko"))
    }

    pub fn starting_with(&self, name: &str) -> Option<&PathBuf> {
        self.0.iter().find_map(|(file, path)| file.starts_with(name).then_some(path))
    }

    /// Whether the kernel lists a module among those that it has built in.
    pub fn is_built_in(&self, module: &str) -> Result<bool> {
        let list = self.0.get("modules.builtin").context("no modules.builtin")?;
        let list = fs::read_to_string(list).with_context(|| list.display().to_string())?;
        let name = format!("{module}.ko");
        Ok(list
            .lines()
            .any(|path| path.rsplit('/').next().is_some_and(|it| it.replace('_', "-") == name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_lists_is_built_in() {
        let dir = std::env::temp_dir().join(format!("guestreq-builtin-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert!(Files::below(&dir).unwrap().is_built_in("kvm").is_err());
        let list = "kernel/arch/x86/kvm/kvm.ko\nkernel/drivers/virtio/virtio_blk.ko\n";
        fs::write(dir.join("modules.builtin"), list).unwrap();
        let files = Files::below(&dir).unwrap();
        let built_in = |module| files.is_built_in(module).unwrap();
        assert!(built_in("kvm") && built_in("virtio-blk"));
        assert!(!built_in("kvm-amd") && !built_in("blk"));
        fs::remove_dir_all(dir).unwrap();
    }
}
