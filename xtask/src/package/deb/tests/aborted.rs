//! # Failed upgrades and removals restore the old state

use super::*;

impl Host {
    /// Makes a package's new version fail before it is unpacked.
    fn broken(&self, package: &Path) -> PathBuf {
        let tree = self.folder.join("broken");
        let file = self.folder.join("broken.deb");
        let pack = |arguments: &[&Path]| {
            let mut tool = Command::new("dpkg-deb");
            process::output(tool.args(arguments)).unwrap();
        };
        pack(&[Path::new("--raw-extract"), package, &tree]);
        fs::write(tree.join("DEBIAN/preinst"), "#!/bin/sh\nexit 1\n").unwrap();
        fs::set_permissions(tree.join("DEBIAN/preinst"), fs::Permissions::from_mode(0o755))
            .unwrap();
        pack(&[Path::new("--build"), &tree, &file]);
        file
    }

    /// The calls of a dpkg command that must fail.
    fn fails(&self, arguments: &[&str]) -> Vec<String> {
        self.dpkg(arguments).unwrap_err();
        stand_in::calls(&self.folder.join("log"))
    }

    /// Runs a script of an installed package as dpkg would.
    fn script(&self, name: &str, arguments: &[&str]) -> Vec<String> {
        let log = self.folder.join("log");
        fs::write(&log, "").unwrap();
        let root = self.folder.join("root");
        let mut script = Command::new(root.join("var/lib/dpkg/info").join(name));
        let path = std::env::var("PATH").unwrap();
        script.env("PATH", format!("{}:{path}", self.folder.join("bin").display()));
        process::output(script.env("DPKG_ROOT", root).args(arguments)).unwrap();
        stand_in::calls(&log)
    }
}

fn position(calls: &[String], begins: &str) -> Option<usize> {
    calls.iter().position(|call| call.starts_with(begins))
}

/// Row 18 of the second review.
#[test]
fn an_upgrade_of_the_gate_that_fails_leaves_the_one_that_was_there_built() {
    let Some(host) = Host::new("gate-abort") else { return };
    let [_, first] = host.pack("0.1.0");
    host.install(&first);
    let [_, second] = host.pack("0.1.1");
    let calls = host.fails(&["--install", host.broken(&second).to_str().unwrap()]);
    let removed = position(&calls, "dkms remove -m guestreq-gate -v 0.1.0");
    let built = position(&calls, "common.postinst guestreq-gate 0.1.0");
    assert!(removed.is_some() && removed < built, "{calls:?}");
    assert!(called(&calls, "modprobe guestreq_gate"), "{calls:?}");
    assert!(host.has("usr/src/guestreq-gate-0.1.0/Kbuild"));
}

#[test]
fn a_gate_that_dkms_cannot_remove_is_built_again() {
    let Some(host) = Host::new("gate-stays") else { return };
    let [_, gate] = host.pack("0.1.0");
    host.install(&gate);
    host.stand_in("bin/dkms", "[ \"$1\" != remove ]");
    let calls = host.fails(&["--remove", "guestreq-gate-dkms"]);
    let built = position(&calls, "common.postinst guestreq-gate 0.1.0");
    assert!(built > position(&calls, "dkms remove"), "{calls:?}");
}

#[test]
fn an_upgrade_of_the_agent_that_fails_leaves_it_running() {
    let Some(host) = Host::new("agent-abort") else { return };
    let [first, _] = host.pack("0.1.0");
    host.install(&first);
    let [second, _] = host.pack("0.1.1");
    let calls = host.fails(&["--install", host.broken(&second).to_str().unwrap()]);
    assert!(called(&calls, "deb-systemd-invoke restart guestreq.service"), "{calls:?}");
    assert!(!calls.iter().any(|call| call.contains("detach")), "{calls:?}");
}

/// Each way in which dpkg restores the old state.
#[test]
fn whatever_was_aborted_is_configured_again() {
    let Some(host) = Host::new("aborted") else { return };
    for package in host.pack("0.1.0") {
        host.install(&package);
    }
    let calls_of_dpkg: [&[&str]; 4] = [
        &["configure", ""],
        &["abort-upgrade", "0.1.1"],
        &["abort-remove"],
        &["abort-deconfigure", "in-favour", "other", "1.0"],
    ];
    for arguments in calls_of_dpkg {
        let calls = host.script("guestreq-gate-dkms.postinst", arguments);
        let built = position(&calls, "common.postinst guestreq-gate 0.1.0");
        assert!(built < position(&calls, "modprobe guestreq_gate"), "{arguments:?}: {calls:?}");
        assert!(built.is_some(), "{arguments:?}: {calls:?}");
        let calls = host.script("guestreq.postinst", arguments);
        let started = |call: &String| {
            call.starts_with("deb-systemd-invoke ") && call.ends_with("start guestreq.service")
        };
        assert!(calls.iter().any(started), "{arguments:?}: {calls:?}");
    }
}
