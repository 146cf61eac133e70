//! # An unpacked report

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::host;

pub const FOLDER: &str = "/tmp/unpacked-report";

/// An unpacked report.
pub struct Unpacked {
    folder: PathBuf,
    pub manifest: Value,
}

impl Unpacked {
    pub fn of(archive: &Path) -> Result<Unpacked> {
        let _ = fs::remove_dir_all(FOLDER);
        fs::create_dir_all(FOLDER).context(FOLDER)?;
        let archive = archive.to_str().context("a path")?;
        host::run_command("tar", &["xzf", archive, "-C", FOLDER])?;
        let all: Vec<_> = fs::read_dir(FOLDER)?.flatten().map(|entry| entry.path()).collect();
        let [folder] = all.as_slice() else { bail!("not one folder: {all:?}") };
        let manifest = serde_json::from_str(&fs::read_to_string(folder.join("MANIFEST.json"))?)?;
        Ok(Unpacked { folder: folder.clone(), manifest })
    }

    pub fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.folder.join(file)).with_context(|| file.to_owned())
    }

    pub fn json(&self, file: &str) -> Result<Value> {
        serde_json::from_str(&self.read(file)?).with_context(|| file.to_owned())
    }

    /// All files by their path in it.
    fn files(&self) -> Result<BTreeSet<String>> {
        fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
            for entry in fs::read_dir(folder)?.flatten() {
                let path = entry.path();
                if path.is_dir() { find(&path, files)? } else { files.push(path) }
            }
            Ok(())
        }
        let mut files = Vec::new();
        find(&self.folder, &mut files)?;
        let inner =
            |path: &PathBuf| Some(path.strip_prefix(&self.folder).ok()?.to_str()?.to_owned());
        Ok(files.iter().filter_map(inner).collect())
    }

    /// The manifest lists each file with its length.
    pub fn is_listed(&self) -> Result<()> {
        let mut files = self.files()?;
        ensure!(files.remove("MANIFEST.json") && files.remove("MANIFEST.md"), "no manifest");
        let listed = self.manifest["files"].as_array().context("files")?;
        for entry in listed {
            let path = entry["path"].as_str().context("a path")?;
            let length = fs::metadata(self.folder.join(path)).context(path.to_owned())?.len();
            ensure!(files.remove(path) && entry["bytes"] == length, "{entry}: {length}");
        }
        ensure!(files.is_empty(), "not listed: {files:?}");
        Ok(())
    }

    /// Whether a list of the manifest has an entry.
    pub fn misses(&self, what: &str, why: &str) -> bool {
        let missing = self.manifest["missing"].as_array().into_iter().flatten();
        let says =
            |it: &Value, key: &str, part| it[key].as_str().is_some_and(|it| it.contains(part));
        missing.into_iter().any(|it| says(it, "what", what) && says(it, "why", why))
    }

    pub fn has_none_of(&self, names: &[String]) -> Result<()> {
        for file in self.files()? {
            let text = self.read(&file)?;
            let lower = text.to_lowercase();
            let found = names.iter().find(|name| lower.contains(name.as_str()));
            ensure!(found.is_none(), "{file} has {found:?}: {text}");
        }
        Ok(())
    }

    /// The copies of /proc and /sys.
    pub fn copies(&self) -> [PathBuf; 2] {
        ["host/proc", "host/sys"].map(|tree| self.folder.join(tree))
    }

    /// Doctor's verdicts of the copies are those of the host, or that it cannot tell.
    pub fn agrees_with(&self, here: &Value) -> Result<()> {
        let [proc, sys] = self.copies();
        let mut command = Command::new("/bin/guestreq");
        command.args(["doctor", "--exit-zero", "-o", "json", "--procfs"]).arg(proc);
        let output = command.arg("--sysfs").arg(sys).output().context("doctor")?;
        let there: Value = serde_json::from_slice(&output.stdout).context("doctor's JSON")?;
        println!("of the copies: {} passed, {} skipped", there["passed"], there["skipped"]);
        let checks = |of: &Value| of["checks"].as_array().cloned().unwrap_or_default();
        for (here, there) in checks(here).iter().zip(checks(&there)) {
            let skipped = there["state"] == "skip"
                && there["why"].as_str().is_some_and(|why| why.starts_with("not this host"));
            // Copies do not show that perf_event_open(2) is permitted.
            let is_tried = here["id"] == "kprobes";
            ensure!(skipped || is_tried || there["state"] == here["state"], "{here}\n{there}");
        }
        ensure!(there["passed"].as_u64() >= Some(15), "{there}");
        Ok(())
    }
}
