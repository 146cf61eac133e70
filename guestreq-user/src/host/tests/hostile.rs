//! Hostile processes, and processes that change while they are read.

use std::{
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use super::*;
use crate::observe::processes::read;

/// A folder in the place of /proc, with one process in it.
struct Proc(tempfile::TempDir);

impl Proc {
    fn new(comm: &[u8], cmdline: &[u8]) -> Proc {
        let proc = Proc(tempfile::tempdir().unwrap());
        fs::create_dir(proc.of("")).unwrap();
        for (file, bytes) in [("comm", comm), ("cmdline", cmdline)] {
            fs::write(proc.of(file), bytes).unwrap();
        }
        proc.begins(50);
        proc
    }

    fn of(&self, file: &str) -> PathBuf {
        self.0.path().join("7").join(file)
    }

    fn begins(&self, ticks: u64) {
        let stat = format!("7 (x) S{} {ticks} 0\n", " 1".repeat(18));
        fs::write(self.of("stat"), stat).unwrap();
    }

    fn system(&self) -> System {
        System::with(Some(self.0.path().to_owned()), None).unwrap()
    }

    fn identity(&self) -> Option<Identity> {
        identify(&self.system(), 7).unwrap().map(|read| read.identity)
    }
}

#[test]
fn two_mebibytes_of_arguments_hide_no_name_and_an_endless_one_takes_no_memory() {
    let long = [b"qemu-kvm\0-name\0web\0".to_vec(), b"-device\0x\0".repeat(210_000)].concat();
    assert!(long.len() > 2 << 20);
    let last = [&long[..], b"-uuid\x007a\0"].concat();
    let vm = Proc::new(b"qemu-kvm\n", &last).identity().unwrap();
    assert_eq!((vm.name.as_str(), vm.uuid.as_str()), ("web", "7a"));

    let proc = Proc::new(b"qemu-kvm\n", b"");
    // Zeros behind it, which take no room on the disk: 1 TiB.
    let mut file = File::create(proc.of("cmdline")).unwrap();
    file.write_all(&[b"qemu-kvm\0-name\0".to_vec(), b"x".repeat(1 << 20)].concat()).unwrap();
    file.set_len(1 << 40).unwrap();
    let vm = proc.identity().unwrap();
    assert_eq!(vm.name, "x".repeat(MAX_NAME));
}

#[test]
fn invalid_utf_8_is_replaced() {
    let vm = Proc::new(b"kvm\xff\n", b"/usr/bin/kvm\0-name\0a\xffb\0-uuid\0\xc3\0").identity();
    let vm = vm.unwrap();
    assert_eq!((vm.name.as_str(), vm.uuid.as_str()), ("a\u{fffd}b", "\u{fffd}"));
    assert_eq!(Proc::new(b"\xff\n", b"").identity().unwrap().name, "\u{fffd}");
}

/// As /proc is with hidepid=2, and with hidepid=1 without permission.
#[test]
fn a_hidden_process_is_none() {
    let proc = Proc::new(b"kvm\n", b"kvm\0");
    assert_eq!(identify(&proc.system(), 8).unwrap(), None);
    assert_eq!(start_ticks(&proc.system(), 8).unwrap(), None);
    fs::set_permissions(proc.of("cmdline"), fs::Permissions::from_mode(0o000)).unwrap();
    let is_root = fs::metadata(proc.of("")).unwrap().uid() == 0;
    assert_eq!(proc.identity().is_some(), is_root, "root reads it anyway");
}

#[test]
fn a_process_whose_files_vanish_is_none() {
    for gone in ["comm", "cmdline", "stat"] {
        let proc = Proc::new(b"kvm\n", b"kvm\0");
        fs::remove_file(proc.of(gone)).unwrap();
        assert_eq!(read(&proc.system(), 7, |_| true).unwrap(), None, "{gone}");
    }
    let proc = Proc::new(b"kvm\n", b"kvm\0-name\0web\0");
    // Its program's file and its cgroups say more, and may be anything.
    for (file, other) in [("exe", "cgroup"), ("cgroup", "exe")] {
        let _ = fs::remove_dir(proc.of(other));
        fs::create_dir(proc.of(file)).unwrap();
        assert_eq!(proc.identity().unwrap().name, "web");
    }
}

#[test]
fn a_pid_reused_while_its_files_are_read_gives_nothing() {
    let proc = Proc::new(b"kvm\n", b"kvm\0-name\0web\0");
    let system = proc.system();
    let (found, started) = read(&system, 7, |ticks| ticks == 50).unwrap().unwrap();
    assert_eq!((found.identity.name.as_str(), started), ("web", 50));
    assert_eq!(read(&system, 7, |ticks| ticks == 51).unwrap(), None, "another one");
    let becomes_another = |_| {
        proc.begins(51);
        true
    };
    assert_eq!(read(&system, 7, becomes_another).unwrap(), None);
}

#[test]
fn an_unreadable_program_file_is_no_error() {
    let proc = Proc::new(b"web\n", b"vm:web\0-name\0web\0");
    assert_eq!(proc.identity().unwrap().vmm, "web");
    symlink("/usr/bin/qemu-system-x86_64 (deleted)", proc.of("exe")).unwrap();
    assert_eq!(proc.identity().unwrap().vmm, "qemu");
}

#[test]
fn two_vmms_of_one_name_and_uuid_are_one_vm_to_policy() {
    let line = b"kvm\0-name\0web\0-uuid\x007a\0";
    let [one, other] = [(); 2].map(|()| Proc::new(b"kvm\n", line).identity().unwrap());
    assert_eq!(one, other);
    let key = |vm: &Identity| crate::policy::key_of(vm).map(Cow::into_owned);
    assert_eq!(key(&one).as_deref(), Some("web"));
    assert_eq!(key(&one), key(&other), "what is set for the name holds for both");
}

#[test]
fn a_shortage_does_not_mean_that_a_process_exited() {
    let look = |errno| unless_gone::<()>(Err(io::Error::from_raw_os_error(errno)));
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
        assert_eq!(look(errno).unwrap_err().raw_os_error(), Some(errno));
    }
    for errno in [libc::ENOENT, libc::ESRCH, libc::EACCES] {
        assert_eq!(look(errno).unwrap(), None);
    }
}

#[test]
fn a_process_moved_into_a_pod_is_found_there_with_its_evidence() {
    let proc = Proc::new(b"qemu-kvm\n", b"qemu-kvm\0");
    assert!(pod_uid(&proc.system(), 7).is_none());
    let line = "0::/kubepods/pod1858680e-b044-4fd5-9dd4-f137e30e2180/x";
    fs::write(proc.of("cgroup"), format!("{line}\n")).unwrap();
    let (uid, evidence) = pod_uid(&proc.system(), 7).unwrap();
    assert_eq!(uid, "1858680e-b044-4fd5-9dd4-f137e30e2180");
    assert_eq!((evidence.field.as_str(), evidence.text.as_str()), ("pod_uid", line));
}

#[test]
fn an_unnamed_vm_s_label_is_its_process_name_and_pid() {
    let named = Identity { name: "a`b$c".to_owned(), named: true, ..Identity::default() };
    assert_eq!(label(&named, 7), "a_b_c");
    let vmi = Identity { namespace: "prod".to_owned(), ..named };
    assert_eq!(label(&vmi, 7), "prod/a_b_c");
    let unnamed = Identity { name: "qemu-kvm".to_owned(), ..Identity::default() };
    assert_eq!(label(&unnamed, 7), "qemu-kvm-7");
}

#[test]
fn a_vm_by_name_only_counts_as_named() {
    for (full, namespace, name) in [("web", "", "web"), ("prod/db-1", "prod", "db-1")] {
        let vm = Identity::called(full);
        assert_eq!((vm.namespace.as_str(), vm.name.as_str(), vm.named), (namespace, name, true));
        assert_eq!(vm.full_name(), full);
    }
    assert_eq!(Identity::called("a/B c").name, "a/B c", "no namespace has such VMs");
}

#[test]
fn only_kata_s_vmms_are_found_by_their_threads() {
    let proc = Proc::new(b"qemu-kvm\n", b"qemu-kvm\0");
    fs::create_dir_all(proc.of("task/8")).unwrap();
    let pod = "0::/kubepods/pod1858680e-b044-4fd5-9dd4-f137e30e2180/x\n";
    fs::write(proc.of("task/8/cgroup"), pod).unwrap();
    fs::write(proc.of("cgroup"), "0::/machine.slice/x\n").unwrap();
    assert!(pod_uid(&proc.system(), 7).is_none());
    fs::write(proc.of("cgroup"), "5:memory:/kata_overhead/x\n").unwrap();
    assert!(pod_uid(&proc.system(), 7).is_some());
}

#[test]
fn the_kick_signal_is_one_that_the_process_handles() {
    let proc = Proc::new(b"qemu-kvm\n", b"qemu-kvm\0");
    fs::write(proc.of("status"), b"Name:\t\xff\nSigCgt:\t0000000000000200\n").unwrap();
    assert_eq!(kick_signal(&proc.system(), 7, "qemu"), Some(10));
    assert_eq!(kick_signal(&proc.system(), 7, "firecracker"), Some(0));
    assert_eq!(kick_signal(&proc.system(), 7, "qemu-kvm"), None, "that is no VMM's name");
}
