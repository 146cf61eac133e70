use super::*;

#[test]
fn given_roots_apply_to_proc_and_sys_only() {
    let [proc, sys] = ["a", "b"].map(|_| tempfile::tempdir().unwrap());
    let of = |tree: &tempfile::TempDir| tree.path().to_owned();
    let system = System::with(Some(of(&proc)), Some(of(&sys))).unwrap();
    let path = |path: &str| system.path(path);
    assert_eq!(path("/proc/7/comm"), proc.path().join("7/comm"));
    assert_eq!(path("/proc/kallsyms"), proc.path().join("kallsyms"));
    assert_eq!(path("/proc/selfless"), proc.path().join("selfless"));
    assert_eq!(system.process(7), proc.path().join("7"));
    assert_eq!(path("/sys/module"), sys.path().join("module"));
    assert_eq!(path("/proc/self/status"), Path::new("/proc/self/status"));
    for other in ["/lib/modules/6.12", "/processes", "/system"] {
        assert!(!system.exists(other) && path(other).starts_with(NOWHERE), "{other}");
    }
}

/// Another machine's files are not mixed with this one's.
#[test]
fn copies_are_not_mixed_with_this_machine_s_files() {
    let tree = tempfile::tempdir().unwrap();
    let of = |tree: &tempfile::TempDir| Some(tree.path().to_owned());
    let proc = System::with(of(&tree), None).unwrap();
    assert_eq!(proc.kind(), TreeKind::OnlyProc);
    assert!(!proc.exists("/sys/module") && !proc.exists("/dev/null"));
    let sys = System::with(None, of(&tree)).unwrap();
    assert_eq!(sys.kind(), TreeKind::OnlySys);
    assert!(!sys.exists("/proc/cmdline") && !sys.exists("/lib"));
    assert_eq!(System::with(of(&tree), of(&tree)).unwrap().kind(), TreeKind::Collected);
    // The kernel's own, mounted elsewhere or not, are this host's.
    let own = System::with(Some("/proc".into()), Some("/sys".into())).unwrap();
    assert_eq!(own.kind(), TreeKind::Here);
    assert!(own.exists("/dev/null"));
}

/// In /proc every file has size 0, which says something of copies alone.
#[test]
fn an_empty_file_is_one_only_among_copies() {
    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join("meminfo"), "").unwrap();
    let copies = System::with(Some(tree.path().to_owned()), None).unwrap();
    assert!(copies.is_empty("/proc/meminfo").unwrap());
    let (recorded, _) = copies.as_recorded_copies();
    assert!(!recorded.is_empty("/proc/meminfo").unwrap());
    let (own, _) = System::real().as_recorded_copies();
    assert!(!own.is_empty("/proc/meminfo").unwrap() && own.is_empty("/proc/nonexistent").is_err());
}

#[test]
fn the_default_roots_are_proc_and_sys() {
    let tree = tempfile::tempdir().unwrap();
    let real = System::with(None, None).unwrap();
    assert_eq!(real.path("/proc/7/stat"), Path::new("/proc/7/stat"));
    assert_eq!(real.path("/sys/module"), Path::new("/sys/module"));
    assert_eq!(System::at(tree.path()).path("/proc/self/x"), tree.path().join("proc/self/x"));
}

#[test]
fn an_invalid_root_is_an_error_with_its_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (wrong, why) in
        [(Path::new("/nonexistent/proc"), "No such file"), (file.path(), "not a directory")]
    {
        let wrong = wrong.to_owned();
        for system in
            [System::with(Some(wrong.clone()), None), System::with(None, Some(wrong.clone()))]
        {
            let error = format!("{:#}", system.unwrap_err());
            let named = error.contains(&wrong.display().to_string());
            assert!(named && error.contains(why), "{error}");
        }
    }
}
