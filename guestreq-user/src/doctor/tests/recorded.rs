//! Copies that `guestreq report` makes: doctor says of them what it says of the original files.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::{
    BROKEN,
    collected::{NotQueried, look},
    fake::Fake,
    hosts, says,
};
use crate::{
    doctor::{Host, Report, State, examine},
    host::system::System,
    report::Tree,
};

/// The copies of a host, unpacked.
fn copies(fake: &Fake) -> (TempDir, System) {
    let system = System::at(fake.folder());
    let (recorded, record) = system.as_recorded_copies();
    examine(&Host::new(recorded, &NotQueried));
    let tree = Tree::of(&system, &record);
    let folder = tempfile::tempdir().unwrap();
    let [proc, sys] = ["proc", "sys"].map(|tree| folder.path().join(tree));
    fs::create_dir(&proc).unwrap();
    fs::create_dir(&sys).unwrap();
    for (path, bytes) in tree.files {
        let path = folder.path().join(path.trim_start_matches('/'));
        match bytes {
            Some(bytes) => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            None => fs::create_dir_all(path).unwrap(),
        }
    }
    let system = System::with(Some(proc), Some(sys)).unwrap();
    (folder, system)
}

fn lines(report: &Report) -> Vec<String> {
    let line = |check: &super::Checked| format!("{}: {:?}: {}", check.id, check.state, says(check));
    report.checks.iter().map(line).collect()
}

/// All hosts of these tests.
fn each_host(mut check: impl FnMut(&str, &Fake)) {
    check("ready", &Fake::ready());
    for (id, _, part, breaks) in BROKEN {
        let mut fake = Fake::ready();
        breaks(&mut fake);
        check(&format!("{id}: {part}"), &fake);
    }
    for (name, fake) in hosts::all() {
        check(&name, &fake);
    }
}

#[test]
fn copies_say_what_the_original_files_say() {
    each_host(|name, fake| {
        let (_folder, copies) = copies(fake);
        let [original, copied] = [fake.collected(true, true), copies].map(|it| lines(&look(it)));
        assert_eq!(original, copied, "{name}");
    });
}

/// What else a verdict depends on, which copies do not have.
const ALSO: [(&str, &str); 4] = [
    ("kernel_version", "whether /lib/modules has a kvm_amd with SEV"),
    ("kprobes", "whether perf_event_open(2) is permitted"),
    ("gate_order", "the configuration"),
    ("gate_weights", "the configuration"),
];

/// They never contradict the host, which may know less if the PSP does not answer.
#[test]
fn copies_have_the_host_s_verdict_unless_the_host_itself_has_to_be_asked() {
    let mut differences = Vec::new();
    each_host(|name, fake| {
        let (_folder, copies) = copies(fake);
        for (here, there) in fake.examine().checks.iter().zip(&look(copies).checks) {
            let skipped = there.state == State::Skip && there.why.starts_with("not this host");
            // Whether anything is enforced is not known of copies.
            let milder = there.why.ends_with("only enforcement needs it");
            let depends = ALSO.iter().any(|(id, _)| *id == here.id);
            let may_differ = skipped || milder || depends || here.state == State::Skip;
            if here.state != there.state && !may_differ {
                differences.push(format!(
                    "{name}: {}\n  {}\n  {}",
                    here.id,
                    says(here),
                    says(there)
                ));
            }
        }
    });
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn processes_and_secrets_are_not_copied() {
    let fake = Fake::ready();
    fake.write("/sys/module/guestreq_gate/parameters/cookie", "0x5\n");
    fake.write("/proc/modules", "other 8192 1 kvm, Live 0xffffffffc0d2a000 (OE)\n");
    // Of which the causes are looked for.
    fake.write("/sys/module/kvm_amd/parameters/sev_snp", "N\n");
    fake.write("/proc/cpuinfo", "processor : 0\nflags : sev\n\nprocessor : 1\nflags : sev\n\n");
    let (folder, _) = copies(&fake);
    let at = |path: &str| folder.path().join(path);
    for left_out in ["proc/self", "proc/77", "dev", "lib", "etc"] {
        assert!(!at(left_out).exists(), "{left_out}");
    }
    for secret in ["cookie", "file"] {
        assert!(!at("sys/module/guestreq_gate/parameters").join(secret).exists(), "{secret}");
    }
    assert!(at("sys/module/guestreq_gate/parameters/depth").exists());
    let read = |path: &str| fs::read_to_string(at(path)).unwrap();
    assert!(!read("proc/kallsyms").contains("ffffffff81"), "{}", read("proc/kallsyms"));
    assert!(!read("proc/modules").contains("ffff"), "{}", read("proc/modules"));
    assert!(read("proc/modules").contains("other 8192 1 kvm, Live 0x0"));
    assert_eq!(read("proc/cpuinfo"), "processor : 0\nflags : sev\n");
    assert_eq!(read("sys/kernel/btf/vmlinux"), "", "megabytes, of which only its existence counts");
}

/// VMs' names in those of cgroups, but not where doctor looks.
#[test]
fn folders_of_cgroups_are_renamed() {
    let fake = Fake::ready();
    fake.remove("/sys/fs/cgroup/misc.current");
    for cgroup in ["of-a-vm.slice", "system.slice", "unified"] {
        fake.write(&format!("/sys/fs/cgroup/{cgroup}/misc.current"), "sev_es 3\n");
    }
    let system = System::at(fake.folder());
    let (recorded, record) = system.as_recorded_copies();
    examine(&Host::new(recorded, &NotQueried));
    let mut tree = Tree::of(&system, &record);
    tree.rename_cgroups();
    let below = tree.files.keys().filter_map(|path| path.strip_prefix("/sys/fs/cgroup/"));
    let below: Vec<_> = below.filter(|path| Path::new(path).components().count() > 1).collect();
    let all = ["cgroup1/misc.current", "system.slice/misc.current", "unified/misc.current"];
    assert_eq!(below, all);
}
