//! # SNP disabled on the kernel's command line or in modprobe.d

use std::collections::BTreeMap;

use super::Signs;
use crate::{host::system::Missing, kernel::is_built_in};

const FOLDERS: [&str; 4] =
    ["/etc/modprobe.d", "/run/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"];

pub fn switched_off(signs: &Signs<'_>) -> Option<Missing> {
    // Of `sev=`, which is a list (arch/x86/virt/svm/cmdline.c).
    let disables_snp = |word: &String| {
        split(word)
            .is_some_and(|(name, list)| name == "sev" && list.split(',').any(|it| it == "nosnp"))
    };
    if let Some(word) = command_line(signs).into_iter().find(disables_snp) {
        let what = format!("SNP is disabled: {word} is on the kernel's command line");
        return Some(Missing::new(what, format!("boot without {word}")));
    }
    let (name, place) =
        ["sev", "sev_es", "sev_snp"].iter().find_map(|name| Some((name, place(signs, name)?)))?;
    let fix = match is_built_in(signs.system, "kvm_amd") {
        true => "remove that, and boot again: kvm_amd is built in",
        false => "remove that, and load kvm_amd again with sev=1 sev_es=1 sev_snp=1",
    };
    Some(Missing::new(format!("kvm_amd has {name}=0 {place}"), fix))
}

/// How to set an option of a module.
pub fn setting(signs: &Signs<'_>, module: &str, option: &str) -> String {
    match is_built_in(signs.system, module) {
        true => format!("boot with {module}.{option} on the kernel's command line"),
        false => format!("{module} {option}"),
    }
}

pub fn is_off(signs: &Signs<'_>, name: &str) -> bool {
    place(signs, name).is_some()
}

/// Where it is disabled. The command line overrides modprobe.d.
fn place(signs: &Signs<'_>, name: &str) -> Option<String> {
    let of_command_line = command_line(signs);
    let mut values = of_command_line.iter().filter_map(|word| {
        let (module, option) = word.split_once('.')?;
        is_kvm_amd(module).then(|| value(option, name))?
    });
    match values.next_back() {
        Some(value) if says_no(value) => return Some("on the kernel's command line".to_owned()),
        Some(_) => return None,
        // modprobe does not load it.
        None if is_built_in(signs.system, "kvm_amd") => return None,
        None => {}
    }
    let mut off = None;
    for path in of_modprobe(signs) {
        let text = signs.system.read(&path).unwrap_or_default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if words.next() == Some("options") && words.next().is_some_and(is_kvm_amd) {
                let set = words.filter_map(|option| value(option, name)).next_back();
                off = set.map_or(off, |value| says_no(value).then(|| format!("in {path}")));
            }
        }
    }
    off
}

/// As modprobe(8) reads them: sorted by name; of two with one name, that of the first folder.
fn of_modprobe(signs: &Signs<'_>) -> impl Iterator<Item = String> {
    let mut files = BTreeMap::new();
    for folder in FOLDERS {
        for file in signs.system.list(folder).into_iter().filter(|file| file.ends_with(".conf")) {
            let path = format!("{folder}/{file}");
            files.entry(file).or_insert(path);
        }
    }
    files.into_values()
}

/// The kernel's options; those after `--` are init's.
pub fn command_line(signs: &Signs<'_>) -> Vec<String> {
    let text = signs.system.read("/proc/cmdline").unwrap_or_default();
    text.split_whitespace().take_while(|word| *word != "--").map(str::to_owned).collect()
}

/// `NAME=VALUE` as the kernel reads it: `-` and `_` are the same, quotes are removed.
pub fn split(word: &str) -> Option<(String, &str)> {
    let (name, value) = word.trim_matches('"').split_once('=')?;
    Some((name.replace('-', "_"), value.trim_matches('"')))
}

/// `-` and `_` are the same.
fn is_kvm_amd(module: &str) -> bool {
    module.replace('-', "_") == "kvm_amd"
}

/// Of `NAME=VALUE`, or of `NAME` alone, which means yes.
fn value<'a>(option: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = option.split_once('=').unwrap_or((option, "1"));
    (found.replace('-', "_") == name).then_some(value)
}

/// As `kstrtobool` in lib/kstrtox.c reads it, for which much is neither yes nor no.
pub fn says_yes(value: &str) -> bool {
    let value = value.trim_matches('"').to_ascii_lowercase();
    value.starts_with(['y', 't', '1']) || value.starts_with("on")
}

pub fn says_no(value: &str) -> bool {
    let value = value.trim_matches('"').to_ascii_lowercase();
    value.starts_with(['n', 'f', '0']) || value.starts_with("of")
}
