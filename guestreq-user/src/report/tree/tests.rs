use std::{os::unix::fs::symlink, process::Command};

use super::*;

/// Copies of another host's files.
fn copies() -> (tempfile::TempDir, System) {
    let folder = tempfile::tempdir().unwrap();
    let [proc, sys] = ["proc", "sys"].map(|tree| folder.path().join(tree));
    fs::create_dir_all(sys.join("fs/cgroup")).unwrap();
    fs::create_dir(&proc).unwrap();
    let system = System::with(Some(proc), Some(sys)).unwrap();
    (folder, system)
}

#[test]
fn copies_that_are_pipes_or_lead_elsewhere_are_not_packed() {
    let (folder, system) = copies();
    let at = |path: &str| folder.path().join(path);
    let pipe = Command::new("mkfifo").arg(at("proc/cmdline")).status().unwrap();
    assert!(pipe.success());
    fs::write(at("secret"), "secret").unwrap();
    symlink(at("secret"), at("proc/meminfo")).unwrap();
    fs::write(at("sys/real"), "real").unwrap();
    symlink("../sys/real", at("proc/modules")).unwrap();
    for path in ["/proc/cmdline", "/proc/meminfo"] {
        let error = read(&system, path, &system.place(path)).unwrap_err().to_string();
        assert_eq!(error, "it is not a file", "{path}");
    }
    assert_eq!(read(&system, "/proc/modules", &system.place("/proc/modules")).unwrap(), b"real\n");
}

/// Files that could not be read have a path, too.
#[test]
fn names_of_cgroups_are_not_in_what_is_missing() {
    let mut tree = Tree::default();
    for path in ["acme.slice/misc.current", "tenant.slice/misc.max", "misc.capacity"] {
        tree.files.insert(format!("{CGROUPS}{path}"), Some(Vec::new()));
    }
    tree.files.insert(format!("{CGROUPS}kubepods.slice"), None);
    for path in ["acme-db.slice/misc.current", "acme.slice"] {
        tree.missing.push(Missing::new(format!("host{CGROUPS}{path}"), "No such device"));
    }
    tree.rename_cgroups();
    let files: Vec<_> = tree.files.keys().map(|path| path.strip_prefix(CGROUPS).unwrap()).collect();
    assert_eq!(
        files,
        ["cgroup2/misc.current", "cgroup3/misc.max", "kubepods.slice", "misc.capacity"]
    );
    let missing: Vec<_> = tree.missing.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(missing, ["host/sys/fs/cgroup/cgroup1/misc.current", "host/sys/fs/cgroup/cgroup2"]);
}
