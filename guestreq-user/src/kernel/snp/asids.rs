//! # ASIDs of SEV-ES and SNP guests
//!
//! Each such guest occupies one, and without a free one no further guest starts: KVM_SEV_INIT2 fails
//! with EBUSY (`sev_asid_new` in arch/x86/kvm/svm/sev.c). KVM charges them to the misc cgroup
//! controller as `sev_es`; legacy SEV guests have others, `sev`.

use std::io;

use crate::host::system::System;

/// Where the controller's root cgroup may be mounted: v2; v2 beside v1; v1.
const ROOTS: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/misc"];
/// How many of the joint range are for SNP guests; 0: all (since Linux 6.18).
const CIPHERTEXT_HIDING: &str = "/sys/module/kvm_amd/parameters/ciphertext_hiding_asids";
/// SEV-ES and SNP guests.
const RESOURCE: &str = "sev_es";

/// What SNP guests can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asids {
    pub used: u64,
    pub total: u64,
    /// SEV-ES guests have a range of their own, but the controller counts them together with SNP
    /// guests: `used` is then what SNP guests use at most.
    pub es_apart: bool,
}

impl Asids {
    /// Fails with the reason if they are not known.
    pub fn read(system: &System) -> Result<Asids, String> {
        let root = root(system).ok_or_else(|| why_no_root(system))?;
        let capacity = number(system, &format!("{root}/misc.capacity"))?
            .filter(|capacity| *capacity > 0)
            .ok_or("kvm_amd has no ASIDs for SEV-ES and SNP guests, or is not loaded")?;
        let total = match system.read(CIPHERTEXT_HIDING) {
            Ok(text) => match parsed(CIPHERTEXT_HIDING, &text)? {
                0 => capacity,
                of_snp => capacity.min(of_snp),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => capacity,
            Err(error) => return Err(format!("{CIPHERTEXT_HIDING}: {error}")),
        };
        let used = used(system, root)?.min(total);
        Ok(Asids { used, total, es_apart: total < capacity })
    }

    pub fn available(self) -> u64 {
        self.total - self.used
    }

    /// At least nine tenths are in use, as in the alert.
    pub fn are_scarce(self) -> bool {
        self.used * 10 >= self.total * 9
    }
}

/// The root cgroup of the misc controller. Only the host's root has misc.capacity, so a container's
/// own cgroup is not mistaken for it.
pub fn root(system: &System) -> Option<&'static str> {
    ROOTS.into_iter().find(|root| system.exists(&format!("{root}/misc.capacity")))
}

fn why_no_root(system: &System) -> &'static str {
    // Only a cgroup of v1 has this file.
    let is_v1 = |name: &String| system.exists(&format!("{}/{name}/tasks", ROOTS[0]));
    if system.list(ROOTS[0]).iter().any(is_v1) {
        return "/sys/fs/cgroup has cgroup v1 without its misc controller: boot with \
                systemd.unified_cgroup_hierarchy=1 for v2, or mkdir /sys/fs/cgroup/misc and mount -t \
                cgroup -o misc misc /sys/fs/cgroup/misc";
    }
    // Only the host's root cgroup lacks cgroup.events.
    let is_root = !system.exists("/sys/fs/cgroup/cgroup.events");
    let controllers = system.read("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if is_root && controllers.split_whitespace().any(|name| name == "misc") {
        return "this kernel shows misc.capacity once a cgroup uses the misc controller: echo +misc \
                >/sys/fs/cgroup/cgroup.subtree_control";
    }
    "there is no misc.capacity in /sys/fs/cgroup: cgroup v2 is not mounted there, the kernel has no \
     misc controller (CONFIG_CGROUP_MISC), or this container does not see the host's cgroups"
}

fn used(system: &System, root: &str) -> Result<u64, String> {
    let file = format!("{root}/misc.current");
    if system.exists(&file) {
        return number(system, &file)?.ok_or(format!("{file} has no {RESOURCE}"));
    }
    // Before Linux 6.5 the root has none. A cgroup's number includes those below it.
    let mut sum = None;
    for name in system.list(root) {
        if let Some(used) = number(system, &format!("{root}/{name}/misc.current"))? {
            sum = Some(sum.unwrap_or(0) + used);
        }
    }
    sum.ok_or(format!("neither {root} nor a cgroup in it has misc.current"))
}

/// The resource's number in a file; none if it is not listed, or there is no such file.
fn number(system: &System, file: &str) -> Result<Option<u64>, String> {
    let text = match system.read(file) {
        Ok(text) => text,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(format!("{file}: {error}")),
    };
    let number = text.lines().find_map(|line| match line.split_once(' ') {
        Some((RESOURCE, number)) => Some(parsed(file, number)),
        _ => None,
    });
    number.transpose()
}

/// Some names are those of files, and cgroups come and go.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(libc::ENODEV)
}

fn parsed(file: &str, number: &str) -> Result<u64, String> {
    number.trim().parse().map_err(|_| format!("{file} has {number:?} for a number"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Reads a host that has these files.
    fn read(files: &[(&str, &str)]) -> Result<Asids, String> {
        let folder = tempfile::tempdir().unwrap();
        let system = System::at(folder.path());
        for (file, text) in files {
            let path = system.path(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Asids::read(&system)
    }

    fn shared(used: u64, total: u64) -> Result<Asids, String> {
        Ok(Asids { used, total, es_apart: false })
    }

    const CAPACITY: (&str, &str) = ("/sys/fs/cgroup/misc.capacity", "sev 410\nsev_es 99\n");
    const CURRENT: (&str, &str) = ("/sys/fs/cgroup/misc.current", "sev 3\nsev_es 12\n");

    #[test]
    fn legacy_sev_guests_do_not_count() {
        assert_eq!(read(&[CAPACITY, CURRENT]), shared(12, 99));
    }

    /// v1's controllers have folders of their own; systemd's hybrid layout has v2 beside them.
    #[test]
    fn each_layout_of_cgroups_is_read() {
        for root in ROOTS {
            let [capacity, current] =
                ["capacity", "current"].map(|name| format!("{root}/misc.{name}"));
            let files = [(&*capacity, CAPACITY.1), (&*current, CURRENT.1)];
            assert_eq!(read(&files), shared(12, 99), "{root}");
        }
    }

    #[test]
    fn where_the_root_has_no_number_its_cgroups_are_added_up() {
        let files = [
            CAPACITY,
            ("/sys/fs/cgroup/cgroup.procs", ""),
            ("/sys/fs/cgroup/system.slice/misc.current", "sev 1\nsev_es 1\n"),
            ("/sys/fs/cgroup/machine.slice/misc.current", "sev 0\nsev_es 7\n"),
            // Included in its parent's.
            ("/sys/fs/cgroup/machine.slice/a.scope/misc.current", "sev 0\nsev_es 7\n"),
            ("/sys/fs/cgroup/init.scope/cgroup.procs", ""),
        ];
        assert_eq!(read(&files), shared(8, 99));
    }

    #[test]
    fn with_ciphertext_hiding_snp_guests_have_a_part_of_the_range() {
        let with = |asids, current| read(&[CAPACITY, current, (CIPHERTEXT_HIDING, asids)]);
        assert_eq!(with("0\n", CURRENT), shared(12, 99));
        assert_eq!(with("50\n", CURRENT), Ok(Asids { used: 12, total: 50, es_apart: true }));
        // kvm_amd sets the parameter to what the firmware got; until then it may be any number.
        assert_eq!(with("4294967295\n", CURRENT), shared(12, 99));
        // 30 are SEV-ES guests for certain.
        let current = (CURRENT.0, "sev 0\nsev_es 80\n");
        assert_eq!(with("50\n", current), Ok(Asids { used: 50, total: 50, es_apart: true }));
    }

    #[test]
    fn what_is_not_known_has_a_reason() {
        const CONTROLLERS: (&str, &str) = ("/sys/fs/cgroup/cgroup.controllers", "pids misc\n");
        const EVENTS: (&str, &str) = ("/sys/fs/cgroup/cgroup.events", "populated 1\n");
        let cases: [(&[(&str, &str)], &str); 10] = [
            (&[], "CONFIG_CGROUP_MISC"),
            (&[CONTROLLERS], "echo +misc >"),
            (&[(CONTROLLERS.0, "pids\n")], "CONFIG_CGROUP_MISC"),
            // A container's root.
            (&[CONTROLLERS, EVENTS], "this container does not see the host's cgroups"),
            (&[("/sys/fs/cgroup/systemd/tasks", "1\n")], "unified_cgroup_hierarchy=1"),
            // A container's own cgroup.
            (&[CURRENT], "this container does not see the host's cgroups"),
            (&[(CAPACITY.0, "sev 509\n"), CURRENT], "no ASIDs for SEV-ES and SNP"),
            (&[CAPACITY], "a cgroup in it has misc.current"),
            (&[CAPACITY, (CURRENT.0, "sev 3\n")], "misc.current has no sev_es"),
            (&[CAPACITY, (CURRENT.0, "sev_es max\n")], "\"max\" for a number"),
        ];
        for (files, why) in cases {
            let unknown = read(files).unwrap_err();
            assert!(unknown.contains(why), "{unknown}");
        }
    }

    #[test]
    fn they_are_scarce_from_nine_tenths_on() {
        let asids = |used| Asids { used, total: 509, es_apart: false };
        assert!(!asids(458).are_scarce() && asids(459).are_scarce() && asids(509).are_scarce());
        assert_eq!(asids(459).available(), 50);
    }
}
