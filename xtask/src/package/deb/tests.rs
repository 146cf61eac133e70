use super::super::stand_in;
use super::*;

mod aborted;

/// A root for dpkg with stand-ins for the commands that scripts call; each logs its call.
struct Host {
    folder: PathBuf,
}

const TOOLS: [&str; 5] =
    ["deb-systemd-helper", "deb-systemd-invoke", "systemctl", "dkms", "modprobe"];

impl Host {
    /// None where dpkg cannot run.
    fn new(name: &str) -> Option<Self> {
        let root = process::output(Command::new("id").arg("-u")).unwrap().trim() == "0";
        if !root || !process::is_installed("dpkg") {
            eprintln!("not tried: it takes dpkg, and root");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("guestreq-{name}-{}", std::process::id()));
        let host = Self { folder };
        for made in
            ["root/var/lib/dpkg/info", "root/var/lib/dpkg/updates", "root/run/systemd/system"]
        {
            fs::create_dir_all(host.folder.join(made)).unwrap();
        }
        fs::write(host.folder.join("root/var/lib/dpkg/status"), "").unwrap();
        for tool in TOOLS {
            host.stand_in(&format!("bin/{tool}"), "");
        }
        host.stand_in("root/usr/lib/dkms/common.postinst", "");
        host.stand_in("guestreq", "");
        Some(host)
    }

    fn stand_in(&self, path: &str, then: &str) {
        let then = format!("echo says something\n{then}");
        stand_in::write(&self.folder.join(path), &self.folder.join("log"), &then);
    }

    fn pack(&self, version: &str) -> [PathBuf; 2] {
        pack(&self.folder.join("guestreq"), version, &self.folder.join("dist")).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut dpkg = Command::new("dpkg");
        dpkg.env("PATH", format!("{}:/usr/sbin:/sbin:{path}", self.folder.join("bin").display()));
        dpkg.arg(format!("--root={}", self.folder.join("root").display()));
        dpkg.args(["--force-script-chrootless", "--force-depends", "--force-unsafe-io"]);
        dpkg.args(["--log=/dev/null"]).args(arguments);
        dpkg
    }

    /// The calls that a dpkg command made.
    fn dpkg(&self, arguments: &[&str]) -> Result<Vec<String>> {
        let log = self.folder.join("log");
        fs::write(&log, "").unwrap();
        process::output(&mut self.command(arguments))?;
        Ok(stand_in::calls(&log))
    }

    /// The error of a dpkg command that must fail.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn install(&self, package: &Path) -> Vec<String> {
        self.dpkg(&["--install", package.to_str().unwrap()]).unwrap()
    }

    fn has(&self, path: &str) -> bool {
        self.folder.join("root").join(path).exists()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn called(calls: &[String], what: &str) -> bool {
    calls.iter().any(|call| call == what)
}

#[test]
fn an_upgrade_replaces_the_agent_and_never_ends_enforcement() {
    let Some(host) = Host::new("upgrade") else { return };
    let [first, _] = host.pack("0.1.0");
    let calls = host.install(&first);
    assert!(called(&calls, "deb-systemd-helper enable guestreq.service"), "{calls:?}");
    assert!(called(&calls, "deb-systemd-invoke start guestreq.service"), "{calls:?}");
    for path in [
        "usr/bin/guestreq",
        "usr/lib/systemd/system/guestreq.service",
        "usr/share/man/man8/guestreq.8.gz",
        "usr/share/doc/guestreq/changelog.gz",
    ] {
        assert!(host.has(path), "{path}");
    }
    let config = host.folder.join("root/etc/guestreq/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let schema = text.lines().next().and_then(|line| line.strip_prefix("#:schema file:///"));
    assert!(schema.is_some_and(|path| host.has(path)), "an editor finds no schema: {schema:?}");
    assert!(host.has("usr/share/guestreq/policy.schema.json"));
    fs::write(&config, "mode = \"enforce\"\n").unwrap();

    let [second, _] = host.pack("0.1.1");
    let calls = host.install(&second);
    assert!(called(&calls, "deb-systemd-invoke restart guestreq.service"), "{calls:?}");
    let ends = |call: &String| call.contains("detach") || call.contains(" stop ");
    assert!(!calls.iter().any(ends), "enforcement was ended: {calls:?}");
    assert_eq!(
        fs::read_to_string(&config).unwrap(),
        "mode = \"enforce\"\n",
        "the configuration was overwritten"
    );
}

#[test]
fn packages_lie_next_to_the_binary_and_nothing_else_does() {
    let Some(host) = Host::new("together") else { return };
    let dist = host.folder.join("dist");
    fs::create_dir_all(&dist).unwrap();
    fs::write(dist.join("guestreq"), "").unwrap();
    host.pack("0.1.0");
    let entries = fs::read_dir(&dist).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    let packages = ["guestreq-gate-dkms_0.1.0_all.deb", "guestreq_0.1.0_amd64.deb"];
    assert_eq!(names, ["guestreq", packages[0], packages[1]]);
}

#[test]
fn a_removal_ends_enforcement_and_a_purge_leaves_nothing() {
    let Some(host) = Host::new("removal") else { return };
    let [package, _] = host.pack("0.1.0");
    host.install(&package);
    fs::create_dir_all(host.folder.join("root/var/lib/guestreq")).unwrap();
    let calls = host.dpkg(&["--remove", "guestreq"]).unwrap();
    let at = |what: &str| calls.iter().position(|call| call == what);
    let (stopped, ended) = (at("deb-systemd-invoke stop guestreq.service"), at("guestreq detach"));
    assert!(stopped.is_some() && stopped < ended, "{calls:?}");
    assert!(!host.has("usr/bin/guestreq"));
    assert!(host.has("etc/guestreq/config.toml") && host.has("var/lib/guestreq"), "not purged");
    host.dpkg(&["--purge", "guestreq"]).unwrap();
    for path in ["etc/guestreq", "var/lib/guestreq", "usr/share/guestreq", "usr/share/doc/guestreq"]
    {
        assert!(!host.has(path), "{path} is left");
    }
}

/// Row 2 of the second review.
#[test]
fn a_package_whose_programs_cannot_be_detached_stays() {
    let Some(host) = Host::new("stays") else { return };
    let [package, _] = host.pack("0.1.0");
    host.install(&package);
    // As with a closed gate, whose message must be shown.
    let refuses = "echo 'guestreq: nothing is detached: the gate is closed' >&2; exit 1";
    host.stand_in("root/usr/bin/guestreq", refuses);
    let message = host.refused(&["--remove", "guestreq"]);
    assert!(message.contains("nothing is detached: the gate is closed"), "{message}");
    assert!(host.has("usr/bin/guestreq"), "nothing could detach it any more");
    let calls = fs::read_to_string(host.folder.join("log")).unwrap();
    assert!(calls.ends_with("deb-systemd-invoke start guestreq.service\n"), "{calls}");
}

#[test]
fn the_gate_is_built_by_dkms_for_its_version_and_goes_with_it() {
    let Some(host) = Host::new("gate") else { return };
    let [_, gate] = host.pack("0.1.1");
    let calls = host.install(&gate);
    let built = calls.iter().any(|call| call.starts_with("common.postinst guestreq-gate 0.1.1"));
    assert!(built, "{calls:?}");
    assert!(called(&calls, "modprobe guestreq_gate"), "{calls:?}");
    let conf = host.folder.join("root/usr/src/guestreq-gate-0.1.1/dkms.conf");
    let conf = fs::read_to_string(conf).unwrap();
    assert!(conf.contains("PACKAGE_VERSION=\"0.1.1\""), "{conf}");
    let calls = host.dpkg(&["--purge", "guestreq-gate-dkms"]).unwrap();
    assert!(called(&calls, "dkms remove -m guestreq-gate -v 0.1.1 --all"), "{calls:?}");
    assert!(!host.has("usr/src/guestreq-gate-0.1.1"));
}

#[test]
fn the_service_has_all_privileges_of_the_pod() {
    let read = |path: &str| fs::read_to_string(project::root().join("deploy").join(path)).unwrap();
    let (unit, pod) = (read("systemd/guestreq.service"), read("kubernetes/base/daemonset.yaml"));
    let granted: Vec<_> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .flat_map(str::split_whitespace)
        .collect();
    let added = pod.split_once("add:").unwrap().1.lines().skip(1);
    let needed: Vec<_> = added
        .map_while(|line| line.trim().strip_prefix("- "))
        .map(|line| format!("CAP_{}", line.split_whitespace().next().unwrap()))
        .collect();
    assert!(needed.len() >= 4, "{needed:?}");
    for capability in needed {
        assert!(granted.contains(&capability.as_str()), "the unit lacks {capability}");
    }
    // It removes the need for CAP_SYS_NICE.
    assert!(!unit.lines().any(|line| line.starts_with("RestrictRealtime=yes")));
}
