use std::collections::BTreeMap;

use rpm::FileFlags;

use super::super::{SOURCES, stand_in};
use super::*;

mod scripts;

/// A folder with packages, and with stand-ins for the commands that their scriptlets call.
struct Host {
    folder: PathBuf,
}

impl Host {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("guestreq-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let host = Self { folder };
        host.stand_in("guestreq", "echo says something");
        host
    }

    fn stand_in(&self, path: &str, then: &str) {
        stand_in::write(&self.folder.join(path), &self.folder.join("log"), then);
    }

    fn pack(&self, version: &str) -> [rpm::Package; 2] {
        let packed = pack(&self.folder.join("guestreq"), version, &self.folder.join("dist"));
        packed.unwrap().map(|path| rpm::Package::open(path).unwrap())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Permissions and flags by path.
fn entries(package: &rpm::Package) -> BTreeMap<String, (u16, FileFlags)> {
    let entries = package.metadata.get_file_entries().unwrap();
    let described = entries.iter().map(|entry| {
        assert_eq!((entry.user(), entry.group()), ("root", "root"), "{}", entry.path().display());
        (entry.path().display().to_string(), (entry.permissions(), entry.flags()))
    });
    described.collect()
}

fn content(package: &rpm::Package, path: &str) -> Vec<u8> {
    let mut files = package.files().unwrap().map(Result::unwrap);
    let file = files.find(|file| file.metadata.path() == Path::new(path)).unwrap();
    file.into_content().unwrap()
}

fn names(dependencies: Vec<Dependency>) -> Vec<String> {
    dependencies.iter().map(ToString::to_string).collect()
}

#[test]
fn the_agent_s_files_are_where_rpm_distributions_have_them() {
    let host = Host::new("rpm-agent");
    let [agent, _] = host.pack("0.1.0");
    let (none, doc) = (FileFlags::empty(), FileFlags::DOC);
    let wanted = [
        ("/usr/bin/guestreq", 0o755, none),
        ("/usr/lib/systemd/system/guestreq.service", 0o644, none),
        ("/etc/guestreq/config.toml", 0o644, FileFlags::CONFIG | FileFlags::NOREPLACE),
        ("/usr/share/man/man8/guestreq.8.gz", 0o644, doc),
        ("/usr/share/bash-completion/completions/guestreq", 0o644, none),
        ("/usr/share/zsh/site-functions/_guestreq", 0o644, none),
        ("/usr/share/fish/vendor_completions.d/guestreq.fish", 0o644, none),
        ("/usr/share/doc/guestreq/README.md", 0o644, doc),
        ("/usr/share/doc/guestreq/reference/keys.md", 0o644, doc),
        ("/usr/share/licenses/guestreq/MIT.txt", 0o644, FileFlags::LICENSE),
        ("/usr/share/licenses/guestreq/Apache-2.0.txt", 0o644, FileFlags::LICENSE),
        // Folders that go with the package.
        ("/etc/guestreq", 0o755, none),
        ("/usr/share/doc/guestreq", 0o755, none),
        ("/usr/share/doc/guestreq/reference", 0o755, none),
    ];
    let entries = entries(&agent);
    for (path, permissions, flags) in wanted {
        assert_eq!(entries.get(path), Some(&(permissions, flags)), "{path}");
    }
    for foreign in ["/usr/share", "/usr/share/doc", "/usr/share/man/man8", "/etc"] {
        assert!(!entries.contains_key(foreign), "{foreign} is not the package's");
    }
    let config = fs::read(project::root().join("deploy/systemd/config.toml")).unwrap();
    assert_eq!(content(&agent, "/etc/guestreq/config.toml"), config);
    assert!(content(&agent, "/usr/bin/guestreq").starts_with(b"#!/bin/sh"));
    agent.verify_digests().unwrap();
}

#[test]
fn the_gate_s_sources_are_where_dkms_looks_for_its_version() {
    let host = Host::new("rpm-gate");
    let [_, gate] = host.pack("0.1.1");
    let entries = entries(&gate);
    for source in SOURCES {
        let path = format!("/usr/src/guestreq-gate-0.1.1/{source}");
        assert_eq!(entries.get(&path), Some(&(0o644, FileFlags::empty())), "{path}");
    }
    assert!(entries.contains_key("/usr/src/guestreq-gate-0.1.1"));
    assert!(!entries.contains_key("/usr/src"));
    let conf = String::from_utf8(content(&gate, "/usr/src/guestreq-gate-0.1.1/dkms.conf")).unwrap();
    assert!(conf.contains("PACKAGE_VERSION=\"0.1.1\""), "{conf}");
    let loaded = content(&gate, "/usr/lib/modules-load.d/guestreq_gate.conf");
    assert_eq!(loaded, b"guestreq_gate\n");
    assert!(entries.contains_key("/usr/share/licenses/guestreq-gate-dkms/GPL-2.0.txt"));
    gate.verify_digests().unwrap();
}

#[test]
fn packages_say_what_they_are_and_need() {
    let host = Host::new("rpm-headers");
    let [agent, gate] = host.pack("0.1.0").map(|package| package.metadata);
    assert_eq!(agent.get_nevra().unwrap().nvra(), "guestreq-0.1.0-1.x86_64");
    assert_eq!(agent.get_license().unwrap(), "MIT OR Apache-2.0");
    assert!(agent.get_summary().unwrap().starts_with("per-VM accounting"));
    let description = agent.get_description().unwrap();
    assert!(description.ends_with("rate.\n\nBy default it refuses nothing."), "{description}");
    let needs = names(agent.get_requires().unwrap());
    assert!(!needs.iter().any(|needed| needed.contains("systemd")), "{needs:?}");
    assert_eq!(names(agent.get_suggests().unwrap()), ["guestreq-gate-dkms"]);

    assert_eq!(gate.get_nevra().unwrap().nvra(), "guestreq-gate-dkms-0.1.0-1.noarch");
    assert_eq!(gate.get_license().unwrap(), "GPL-2.0-only");
    let needs = names(gate.get_requires().unwrap());
    assert!(needs.contains(&"dkms >= 3.0".to_owned()), "{needs:?}");
    let wanted = ["guestreq", "kernel-default-devel", "kernel-devel", "openssl"];
    assert_eq!(names(gate.get_recommends().unwrap()), wanted);
}

#[test]
fn the_same_sources_give_the_same_packages() {
    let [first, second] = ["rpm-first", "rpm-second"].map(|name| {
        let host = Host::new(name);
        // The other stand-in's text names its folder.
        stand_in::program(&host.folder.join("guestreq"), "echo says something");
        host.pack("0.1.0").map(|package| {
            assert_eq!(package.metadata.get_build_time().unwrap(), u64::from(DATE));
            assert!(package.metadata.get_build_host().is_err());
            let mut bytes = Vec::new();
            package.write(&mut bytes).unwrap();
            bytes
        })
    });
    assert!(first == second);
}
