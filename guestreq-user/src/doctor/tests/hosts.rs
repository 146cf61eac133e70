//! Reported hosts and doctor's findings: one file each in `doctor/hosts`, with its differences to a
//! host on which every check passes.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::Deserialize;

use super::{fake::Fake, find, says};
use crate::doctor::{State, platform::Platform};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reported {
    /// `Seen: ` or `Composed: `, and where or from what.
    source: String,
    /// The kernel's log.
    #[serde(default)]
    log: String,
    /// Output of modinfo(8) for any module.
    modinfo: Option<String>,
    /// Its errno.
    perf_event_open: Option<i32>,
    /// A kernel that only requires CAP_PERFMON, whatever perf_event_paranoid is.
    #[serde(default)]
    mainline: bool,
    /// API version and state.
    platform: Option<[u8; 3]>,
    platform_errno: Option<i32>,
    #[serde(default)]
    removed: Vec<String>,
    /// File, text and replacement.
    #[serde(default)]
    edits: Vec<[String; 3]>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Empty folders.
    #[serde(default)]
    folders: Vec<String>,
    /// By id of the check.
    expect: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    state: State,
    #[serde(default)]
    says: Vec<String>,
    /// Text that must not appear.
    #[serde(default)]
    silent: Vec<String>,
}

impl Reported {
    fn host(&self) -> Fake {
        let mut fake = Fake::ready();
        fake.log.clone_from(&self.log);
        fake.modinfo.clone_from(&self.modinfo);
        fake.perf = self.perf_event_open;
        fake.mainline = self.mainline;
        if let Some([major, minor, state]) = self.platform {
            fake.platform = Ok(Platform::of((major, minor), state));
        }
        if self.platform_errno.is_some() {
            fake.platform = Err(self.platform_errno);
        }
        self.removed.iter().for_each(|path| fake.remove(path));
        self.edits.iter().for_each(|[path, from, to]| fake.edit(path, from, to));
        self.files.iter().for_each(|(path, text)| fake.write(path, text));
        self.folders.iter().for_each(|path| fs::create_dir_all(fake.path(path)).unwrap());
        fake
    }
}

fn reported() -> Vec<(String, Reported)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/doctor/hosts");
    let of_file = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let reported = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, reported)
    };
    fs::read_dir(folder).unwrap().map(|file| of_file(file.unwrap().path())).collect()
}

/// All of them, by name.
pub fn all() -> impl Iterator<Item = (String, Fake)> {
    reported().into_iter().map(|(name, reported)| (name, reported.host()))
}

#[test]
fn reported_hosts_get_the_expected_findings() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (name, reported) in reported() {
        let prefixes = ["Seen: ", "Composed: "];
        let sourced = prefixes.iter().any(|prefix| reported.source.starts_with(prefix));
        assert!(sourced, "{name}: no source");
        let report = reported.host().examine();
        for (id, expected) in &reported.expect {
            let check = find(&report, id);
            let said = says(check);
            let right = check.state == expected.state
                && expected.says.iter().all(|part| said.contains(part))
                && !expected.silent.iter().any(|part| said.contains(part));
            if !right {
                wrong.push(format!("{name}: {id}: {:?}: {said}", check.state));
            }
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 60, "only {seen}");
}
