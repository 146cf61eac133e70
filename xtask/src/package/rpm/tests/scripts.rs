//! # What scriptlets do, with stand-ins for systemd and dkms

use std::process::Command;

use rpm::{Package, Scriptlet};

use super::*;

mod gate;

/// What scriptlets did.
#[derive(Debug, Default)]
struct Ran {
    calls: Vec<String>,
    errors: String,
    failed: bool,
}

impl Ran {
    fn position(&self, begins: &str) -> Option<usize> {
        self.calls.iter().position(|call| call.starts_with(begins))
    }

    fn called(&self, begins: &str) -> bool {
        self.position(begins).is_some()
    }
}

const RUNS: &str = "root/run/systemd/system";

impl Host {
    /// With systemd and a running agent, two kernels, of which one has headers, and dkms that knows
    /// the gate.
    fn booted(name: &str) -> Self {
        let host = Self::new(name);
        for folder in
            [RUNS, "root/usr/lib/modules/6.12.1/build/include", "root/usr/lib/modules/7.0.0"]
        {
            fs::create_dir_all(host.folder.join(folder)).unwrap();
        }
        host.stand_in("root/usr/bin/guestreq", "");
        host.stand_in("bin/systemctl", "[ \"$1\" != is-active ] || echo active");
        host.stand_in("bin/modprobe", "");
        host.stand_in("bin/dkms", "[ \"$1\" != status ] || echo guestreq-gate: added");
        host
    }

    /// Runs scriptlets as rpm does, each with the number of versions that are installed after it,
    /// until one fails.
    fn run(&self, scriptlets: &[(Scriptlet, &str)]) -> Ran {
        let (log, file) = (self.folder.join("log"), self.folder.join("scriptlet"));
        fs::write(&log, "").unwrap();
        let mut ran = Ran::default();
        for (scriptlet, count) in scriptlets {
            let mut text = scriptlet.script.clone();
            for path in ["/run/systemd/system", "/usr/bin/guestreq", "/usr/lib/modules"] {
                let root = self.folder.join("root");
                text = text.replace(path, &format!("{}{path}", root.display()));
            }
            fs::write(&file, text).unwrap();
            let mut shell = Command::new("/bin/sh");
            // Nothing but stand-ins: a scriptlet must not reach this machine's systemd.
            shell.arg(&file).arg(count).env("PATH", self.folder.join("bin"));
            let output = shell.output().unwrap();
            ran.errors += &String::from_utf8_lossy(&output.stderr);
            ran.failed = !output.status.success();
            if ran.failed {
                break;
            }
        }
        ran.calls = stand_in::calls(&log);
        ran
    }

    fn install(&self, package: &Package) -> Ran {
        self.run(&[(package.metadata.get_post_install_script().unwrap(), "1")])
    }

    /// The new package's %post comes first.
    fn upgrade(&self, old: &Package, new: &Package) -> Ran {
        let mut scriptlets = vec![
            (new.metadata.get_post_install_script().unwrap(), "2"),
            (old.metadata.get_pre_uninstall_script().unwrap(), "1"),
        ];
        scriptlets.extend(old.metadata.get_post_uninstall_script().ok().map(|last| (last, "1")));
        self.run(&scriptlets)
    }

    fn remove(&self, package: &Package) -> Ran {
        let mut scriptlets = vec![(package.metadata.get_pre_uninstall_script().unwrap(), "0")];
        let last = package.metadata.get_post_uninstall_script().ok();
        scriptlets.extend(last.map(|last| (last, "0")));
        self.run(&scriptlets)
    }
}

#[test]
fn an_installed_agent_starts_only_if_presets_say_so() {
    let host = Host::booted("rpm-install");
    let [agent, _] = host.pack("0.1.0");
    let ran = host.install(&agent);
    let calls = ["systemctl --no-reload preset guestreq.service", "systemctl daemon-reload"];
    assert_eq!(ran.calls, calls, "{ran:?}");
    assert!(!ran.failed && ran.errors.is_empty(), "{ran:?}");
    // While an image is built, nothing runs.
    fs::remove_dir(host.folder.join(RUNS)).unwrap();
    assert_eq!(host.install(&agent).calls, calls[..1]);
    assert_eq!(host.remove(&agent).calls[0], "guestreq detach");
    fs::remove_file(host.folder.join("bin/systemctl")).unwrap();
    let ran = host.install(&agent);
    assert!(ran.calls.is_empty() && !ran.failed, "{ran:?}");
}

#[test]
fn an_upgrade_restarts_the_agent_and_never_ends_enforcement() {
    let host = Host::booted("rpm-upgrade");
    let ([old, _], [new, _]) = (host.pack("0.1.0"), host.pack("0.1.1"));
    let ran = host.upgrade(&old, &new);
    assert_eq!(
        ran.calls,
        ["systemctl daemon-reload", "systemctl try-restart guestreq.service"],
        "{ran:?}"
    );
    host.stand_in("bin/systemctl", "[ \"$1\" != try-restart ]");
    let ran = host.upgrade(&old, &new);
    assert!(ran.errors.contains("the agent did not start") && !ran.failed, "{ran:?}");
}

#[test]
fn a_removal_stops_the_agent_then_ends_enforcement() {
    let host = Host::booted("rpm-removal");
    let [agent, _] = host.pack("0.1.0");
    let ran = host.remove(&agent);
    let calls = [
        "systemctl is-active guestreq.service",
        "systemctl stop guestreq.service",
        "guestreq detach",
        "systemctl --no-reload disable guestreq.service",
        "systemctl daemon-reload",
    ];
    assert_eq!(ran.calls, calls, "{ran:?}");
    assert!(!ran.failed, "{ran:?}");
}

#[test]
fn a_package_whose_programs_cannot_be_detached_stays() {
    let host = Host::booted("rpm-stays");
    let [agent, _] = host.pack("0.1.0");
    // As with a closed gate, whose message must be shown.
    let refuses = "echo 'guestreq: nothing detached: the gate is closed' >&2; exit 1";
    host.stand_in("root/usr/bin/guestreq", refuses);
    let ran = host.remove(&agent);
    assert!(ran.failed && ran.errors.contains("nothing detached: the gate is closed"), "{ran:?}");
    assert!(ran.errors.contains("guestreq: not removed"), "{ran:?}");
    assert_eq!(ran.calls.last().unwrap(), "systemctl start guestreq.service");
    // An agent that did not run is not started.
    host.stand_in("bin/systemctl", "[ \"$1\" != is-active ] || { echo inactive; exit 3; }");
    let ran = host.remove(&agent);
    assert!(ran.failed && !ran.called("systemctl start"), "{ran:?}");
    // Nor is anything detached beside an agent that cannot be stopped.
    host.stand_in("bin/systemctl", "[ \"$1\" != stop ]");
    let ran = host.remove(&agent);
    assert!(ran.failed && !ran.called("guestreq detach"), "{ran:?}");
}
