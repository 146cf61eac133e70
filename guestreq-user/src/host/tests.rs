use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::PathBuf,
    process::{Command, Stdio},
};

use serde::Deserialize;

use super::*;

mod cases;
mod hostile;

/// A recorded process: its files in /proc, and the expected identity.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Process {
    /// Where it was seen, or what it was composed from.
    source: String,
    comm: String,
    cmdline: Vec<String>,
    cgroup: String,
    /// Its threads' cgroups, where they matter.
    #[serde(default)]
    threads: Vec<String>,
    /// The agent's own.
    #[serde(default)]
    agent: String,
    is: Is,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Is {
    vmm: String,
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    pod_uid: String,
    #[serde(default)]
    uuid: String,
}

impl Process {
    /// Laid out as in /proc.
    fn identify(&self) -> Is {
        let proc = tempfile::tempdir().unwrap();
        let [folder, own] = ["7", "self"].map(|name| proc.path().join(name));
        for folder in [&folder, &own] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(own.join("cgroup"), &self.agent).unwrap();
        let write = |file: &str, text: &str| fs::write(folder.join(file), text).unwrap();
        write("comm", &format!("{}\n", self.comm));
        write("cmdline", &self.cmdline.iter().map(|one| format!("{one}\0")).collect::<String>());
        write("cgroup", &self.cgroup);
        for (i, cgroup) in self.threads.iter().enumerate() {
            fs::create_dir_all(folder.join(format!("task/{i}"))).unwrap();
            write(&format!("task/{i}/cgroup"), cgroup);
        }
        let Identity { name, uuid, vmm, namespace, pod_uid, .. } =
            of_folder(&folder).unwrap().unwrap().identity;
        Is { vmm, name, namespace, pod_uid, uuid }
    }
}

#[test]
fn recorded_processes_are_identified() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/host/processes");
    let mut seen = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let process: Process =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let begins = ["Seen: ", "Composed: "];
        let sourced = begins.iter().any(|begin| process.source.starts_with(begin));
        assert!(sourced, "{}: where is it from?", path.display());
        assert_eq!(process.identify(), process.is, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 15, "only {seen}");
}

#[test]
fn a_namespace_is_part_of_the_full_name_and_the_key() {
    let web = Identity { namespace: "prod".to_owned(), ..Identity::called("web") };
    assert_eq!(web.full_name(), "prod/web");
    assert_eq!(Identity::called("prod/web"), web);
    for name in ["web", "/web", "prod/", "a/b/c", "Prod/web", "a\n/b"] {
        let vm = Identity::called(name);
        assert_eq!((vm.name.as_str(), vm.namespace.as_str()), (name, ""));
        assert_eq!(vm.full_name(), name);
    }
}

#[test]
fn this_process_has_a_name_and_a_start() {
    let Identified { identity, evidence } =
        identify(&System::real(), std::process::id()).unwrap().unwrap();
    assert!(evidence.iter().any(|it| it.field == "vmm" && it.from == EvidenceSource::Comm));
    assert!(!identity.named);
    assert!(!identity.name.is_empty());
    let ticks = start_ticks(&System::real(), std::process::id()).unwrap().unwrap();
    let (began, now) = (began_ns(ticks), clock_ns(libc::CLOCK_MONOTONIC));
    assert!(began <= now && now - began < 600_000_000_000, "{began} {now}");
}

#[test]
fn an_exited_process_has_neither() {
    assert_eq!(identify(&System::real(), u32::MAX).unwrap(), None);
    assert_eq!(start_ticks(&System::real(), u32::MAX).unwrap(), None);
}

#[test]
fn names_are_fit_for_labels() {
    assert_eq!(clean("web-1"), "web-1");
    assert_eq!(clean("a\nb\x1b[31mc"), "a_b_[31mc");
    assert_eq!(clean("\u{fc}ber \"quoted\""), "\u{fc}ber \"quoted\"");
    assert_eq!(clean(&"x".repeat(4096)).len(), MAX_LABEL);
}

/// The rest is what xtask tries in every query of the dashboards (`test::dashboards::names`).
/// Row 14 of the second review.
#[test]
fn only_printable_characters_that_change_a_query_are_replaced() {
    let replaced: String = (' '..='~').filter(|c| clean(&c.to_string()) != c.to_string()).collect();
    assert_eq!(replaced, "$`");
    assert_eq!(clean("`}) or vector($__range) #"), "_}) or vector(___range) #");
}

#[test]
fn times_of_the_programs_clock_are_converted() {
    let now = || clock_ns(libc::CLOCK_REALTIME) / 1_000_000_000;
    let (before, monotonic) = (now(), clock_ns(libc::CLOCK_MONOTONIC));
    let then = unix_seconds(monotonic);
    assert!((before.saturating_sub(1)..=now()).contains(&then), "{then}");
    let hour_ago = unix_seconds(monotonic.saturating_sub(3_600_000_000_000));
    assert!(monotonic < 3_600_000_000_000 || (3599..=3601).contains(&(then - hour_ago)));
}

#[test]
fn want_of_descriptors_does_not_mean_that_a_process_exited() {
    let is_shortage = |code| is_shortage(&io::Error::from_raw_os_error(code));
    assert!(is_shortage(libc::EMFILE) && is_shortage(libc::ENFILE));
    for gone in [libc::ENOENT, libc::ESRCH, libc::EACCES] {
        assert!(!is_shortage(gone), "{gone}");
    }
}

/// Whoever starts a VMM chooses its name, and the kernel cuts it after 15 bytes.
#[test]
fn a_name_cut_within_a_character_is_read_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join(OsStr::from_bytes(b"m) R 1 \xc3"));
    symlink("/bin/sh", &program).unwrap();
    let mut shell =
        Command::new(&program).args(["-c", "read line"]).stdin(Stdio::piped()).spawn().unwrap();
    let pid = shell.id();
    let began = start_ticks(&System::real(), pid).unwrap().map(began_ns);
    let signal = kick_signal(&System::real(), pid, "qemu");
    let name = identify(&System::real(), pid).unwrap().map(|vm| vm.identity.name);
    shell.kill().unwrap();
    shell.wait().unwrap();
    assert!(began.is_some_and(|began| began <= clock_ns(libc::CLOCK_MONOTONIC)), "{began:?}");
    assert_eq!(signal, Some(0), "a shell does not handle it");
    assert_eq!(name.as_deref(), Some("m) R 1 \u{fffd}"));
}
