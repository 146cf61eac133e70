//! # Installing, upgrading and removing the package
//!
//! The package's own scripts as dpkg runs them, with a stand-in for systemd that starts and stops
//! the agent.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::enforce::disallowed_that_reached;
use crate::{
    agent,
    gate::Gate,
    host::{Firmware, wait_until},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(UPGRADE: "packages/upgrade" = upgrade,
    "a package upgrade lets nothing pass, and a removal ends enforcement");

const BINARY: &str = "/usr/bin/guestreq";
const TOOLS: &str = "/tmp/systemd";
const CONFIG: &str = "/etc/guestreq/config.toml";
/// Starts, stops and restarts as `deb-systemd-invoke` does.
const INVOKE: &str = "\
#!/bin/sh
runs() { grep -q '^State:.[^Z]' /proc/$(cat /run/agent.pid)/status 2>/dev/null; }
case $1 in stop | restart)
    kill -TERM $(cat /run/agent.pid)
    while runs; do sleep 0.1; done ;;
esac
case $1 in start | restart)
    /usr/bin/guestreq agent --stay </dev/null >>/tmp/agent.log 2>&1 &
    echo $! >/run/agent.pid ;;
esac
";

fn upgrade(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    prepare()?;
    unpack()?;
    script("postinst", &["configure", ""])?;
    ready()?;
    let before = Firmware::read()?;
    let mut load = load::start("--vmm qemu --name web --type report,export --seconds 3600")?;
    passes("reports pass", &before)?;

    let first = pid()?;
    script("prerm", &["upgrade", "0.1.1"])?;
    unpack()?;
    script("postinst", &["configure", "0.1.0"])?;
    ready()?;
    ensure!(pid()? != first, "the new agent was not started");
    passes("reports pass after the upgrade", &Firmware::read()?)?;
    ensure!(load.is_running()?, "the guest has ended");
    let firmware = Firmware::read()?.since(&before);
    let reached = disallowed_that_reached(&firmware);
    ensure!(reached == 0, "{reached} passed: {:?}", firmware.messages);
    load.stop()?;

    script("prerm", &["remove"])?;
    ensure!(!Path::new("/sys/fs/bpf/guestreq").exists(), "something is still pinned");
    let seen = load::run("--vmm qemu --name web --type export --count 1")?;
    ensure!(seen.outcomes["7"].get("ok") == Some(&1), "still enforced: {:?}", seen.outcomes);
    gate.remove()?;
    fs::remove_file(CONFIG).context(CONFIG)?;
    Ok(Status::Passed)
}

/// Creates what a host with systemd has, and a configuration.
fn prepare() -> Result<()> {
    for folder in ["/usr/bin", "/run/systemd/system", "/etc/guestreq", TOOLS] {
        fs::create_dir_all(folder).context(folder)?;
    }
    fs::write(CONFIG, "mode = \"enforce\"\nallow = [\"report\"]\n").context(CONFIG)?;
    for (tool, text) in [
        ("deb-systemd-invoke", INVOKE),
        ("deb-systemd-helper", "#!/bin/sh\n"),
        ("systemctl", "#!/bin/sh\n"),
    ] {
        let path = format!("{TOOLS}/{tool}");
        fs::write(&path, text).with_context(|| path.clone())?;
        fs::set_permissions(&path, Permissions::from_mode(0o755)).context(path)?;
    }
    Ok(())
}

/// Replaces the binary by a rename, as dpkg does.
fn unpack() -> Result<()> {
    let new = format!("{BINARY}.dpkg-new");
    fs::copy("/bin/guestreq", &new).with_context(|| new.clone())?;
    fs::rename(&new, BINARY).context(BINARY)
}

fn script(name: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new("/bin/sh")
        .arg(format!("/lib/deb/{name}"))
        .args(arguments)
        .env("PATH", format!("{TOOLS}:/bin"))
        .status()
        .with_context(|| name.to_owned())?;
    ensure!(status.success(), "{name} {arguments:?}: {status}");
    Ok(())
}

fn pid() -> Result<String> {
    fs::read_to_string("/run/agent.pid").context("/run/agent.pid")
}

fn ready() -> Result<()> {
    wait_until("the agent is ready", Duration::from_secs(60), || {
        Ok(agent::get("/readyz").is_ok_and(|(status, _)| status == 200))
    })
}

fn passes(what: &str, before: &Firmware) -> Result<()> {
    wait_until(what, Duration::from_secs(60), || {
        Ok(Firmware::read()?.since(before).guest_requests >= 3)
    })
}
