//! # Files that go, and a clock that is set

use std::{
    ffi::CString,
    fs, io, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{PATIENCE, Stage, go_on, is_told, web_runs};
use crate::{
    agent::{self, cli, json},
    host::{run_command, wait_until},
    scenarios::{
        odd::step,
        outlive::{self, PINS},
    },
};

const SOCKET: &str = "/run/guestreq/agent.sock";

pub fn socket(_: &mut Stage) -> Result<()> {
    fs::remove_file(SOCKET).context(SOCKET)?;
    wait_until("the command line is answered", PATIENCE, || Ok(cli(&["vms"]).is_ok()))?;
    is_told("agent.sock: it was removed: recreated")?;
    web_runs()
}

pub fn pins(stage: &mut Stage) -> Result<()> {
    const BPFFS: &str = "/sys/fs/bpf";
    run_command("umount", &[BPFFS])?;
    let told = wait_until("/readyz tells", PATIENCE, || {
        let (status, why) = agent::get("/readyz")?;
        Ok(status == 503 && why.contains("no BPF file system at /sys/fs/bpf"))
    });
    let asked = go_on(20);
    run_command("mount", &["-t", "bpf", "bpf", BPFFS])?;
    told.and(asked)?;
    is_told("/sys/fs/bpf/guestreq is gone: until it is pinned again nothing would outlive")?;
    is_told("pinned again at")?;
    wait_until("it is ready again", PATIENCE, || Ok(agent::get("/readyz")?.0 == 200))?;
    // The same by hand; and the next agent finds all of it.
    fs::remove_dir_all(PINS).context(PINS)?;
    wait_until("it is pinned again", PATIENCE, || Ok(fs::exists(format!("{PINS}/maps/HOST"))?))?;
    outlive::succeed(&mut stage.agent, libc::SIGKILL)?;
    let said = agent::log();
    ensure!(said.contains("took over kretprobe/"), "it took nothing over: {said}");
    ensure!(!said.contains("] attached "), "it attached something: {said}");
    web_runs()
}

pub fn clock(_: &mut Stage) -> Result<()> {
    const HOURS: [i64; 2] = [1000, -2000];
    let mut seen = Ok(());
    for hours in HOURS {
        step(hours * 3600)?;
        thread::sleep(Duration::from_millis(1200));
        seen = seen.and(rates().with_context(|| format!("{hours} hours later")));
    }
    step(-HOURS.iter().sum::<i64>() * 3600)?;
    seen
}

/// What is measured over a window is as it was.
fn rates() -> Result<()> {
    let vms = json("vms")?;
    let window = vms["window_seconds"].as_f64().context("window_seconds")?;
    ensure!((0.0..3600.0).contains(&window), "a window of {window} s");
    let psp = json("psp")?;
    let busy = psp["recent_utilisation"].as_f64().context("recent_utilisation")?;
    ensure!((0.0..1.5).contains(&busy), "the PSP was {busy} busy");
    for path in ["/healthz", "/readyz"] {
        let (status, why) = agent::get(path)?;
        ensure!(status == 200, "{path}: {why}");
    }
    web_runs()
}

/// From now on the disk hangs for what the command line sets.
pub fn hang() -> Result<()> {
    let name = CString::new(NEW_OVERRIDES)?;
    // SAFETY: a string that ends, and that outlives the call.
    let ret = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
    ensure!(ret == 0, "mkfifo: {}", io::Error::last_os_error());
    Ok(())
}

/// Where what the command line sets is written before it takes its place.
pub const NEW_OVERRIDES: &str = "/tmp/outlive/overrides.json.new";

/// A pipe in its place is waited for, as a disk that hangs is.
pub fn slow_disk(stage: &mut Stage) -> Result<()> {
    fs::create_dir_all("/tmp/outlive").context("/tmp/outlive")?;
    hang()?;
    let set = ["limit", "set", "--vm", "web", "--rate", "1000/s", "--burst", "1000"];
    let waits = thread::spawn(move || cli(&set));
    // For longer than what was verified before counts as verified.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(5) {
        let metrics = stage.agent.scrape()?;
        let verified = metrics.sum("guestreq_enforcement_info", &[("verified", "true")]);
        ensure!(verified == 1.0, "not verified after {:?}", since.elapsed());
        go_on(5)?;
        web_runs()?;
    }
    ensure!(!waits.is_finished(), "nobody waits for the disk");
    let holds =
        || Ok::<_, anyhow::Error>(cli(&["policy", "show", "-o", "json"])?.contains("1000/s"));
    ensure!(!holds()?, "it holds before it is kept");
    // Which cannot be synced: the change fails, and nothing is changed.
    fs::read(NEW_OVERRIDES).context(NEW_OVERRIDES)?;
    let refused = waits.join().map_err(|_| anyhow!("the command line has panicked"))?;
    let refused = format!("{:#}", refused.err().context("a change that was not kept holds")?);
    ensure!(refused.contains("nothing is changed"), "{refused}");
    ensure!(!holds()?, "it holds though it is not kept");
    cli(&set)?;
    ensure!(holds()?, "a change that was kept does not hold");
    cli(&["limit", "clear", "--vm", "web"])?;
    Ok(())
}
