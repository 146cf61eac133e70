//! # Removed files, a hung disk, a set clock

use std::{
    ffi::CString,
    fs, io, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{FaultyHost, STEP_TIMEOUT, requests_continue, wait_for_log, web_is_running};
use crate::{
    agent::{self, cli, json},
    host::{run_command, wait_until},
    scenarios::{
        edge_cases::step,
        takeover::{self, PINS},
    },
};

const SOCKET: &str = "/run/guestreq/agent.sock";

pub fn socket(_: &mut FaultyHost) -> Result<()> {
    fs::remove_file(SOCKET).context(SOCKET)?;
    wait_until("the command line is answered", STEP_TIMEOUT, || Ok(cli(&["vms"]).is_ok()))?;
    wait_for_log("agent.sock: it was removed: recreated")?;
    web_is_running()
}

pub fn pins(host: &mut FaultyHost) -> Result<()> {
    const BPFFS: &str = "/sys/fs/bpf";
    run_command("umount", &[BPFFS])?;
    let reported = wait_until("/readyz reports it", STEP_TIMEOUT, || {
        let (status, why) = agent::get("/readyz")?;
        Ok(status == 503 && why.contains("no BPF file system at /sys/fs/bpf"))
    });
    let continued = requests_continue(20);
    run_command("mount", &["-t", "bpf", "bpf", BPFFS])?;
    reported.and(continued)?;
    wait_for_log("/sys/fs/bpf/guestreq was removed: until it is restored, nothing survives")?;
    wait_for_log("pinned again at")?;
    wait_until("it is ready again", STEP_TIMEOUT, || Ok(agent::get("/readyz")?.0 == 200))?;
    // The same after removal by hand; and the next agent takes everything over.
    fs::remove_dir_all(PINS).context(PINS)?;
    wait_until("it is pinned again", STEP_TIMEOUT, || {
        Ok(fs::exists(format!("{PINS}/maps/HOST"))?)
    })?;
    takeover::replace_agent(&mut host.agent, libc::SIGKILL)?;
    let log = agent::log();
    ensure!(log.contains("took over kretprobe/"), "nothing was taken over: {log}");
    ensure!(!log.contains("] attached "), "something was attached: {log}");
    web_is_running()
}

pub fn clock(_: &mut FaultyHost) -> Result<()> {
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

/// Rates over a window are unaffected.
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
    web_is_running()
}

/// Makes writing overrides hang.
pub fn hang() -> Result<()> {
    let name = CString::new(NEW_OVERRIDES)?;
    // SAFETY: a string that ends, and that outlives the call.
    let ret = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
    ensure!(ret == 0, "mkfifo: {}", io::Error::last_os_error());
    Ok(())
}

/// The temporary file of overrides.
pub const NEW_OVERRIDES: &str = "/tmp/takeover/overrides.json.new";

/// Opening a pipe blocks like a hung disk.
pub fn slow_disk(host: &mut FaultyHost) -> Result<()> {
    fs::create_dir_all("/tmp/takeover").context("/tmp/takeover")?;
    hang()?;
    let set = ["limit", "set", "--vm", "web", "--rate", "1000/s", "--burst", "1000"];
    let waits = thread::spawn(move || cli(&set));
    // For longer than a verification is valid.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(5) {
        let metrics = host.agent.scrape()?;
        let verified = metrics.sum("guestreq_enforcement_info", &[("verified", "true")]);
        ensure!(verified == 1.0, "not verified after {:?}", since.elapsed());
        requests_continue(5)?;
        web_is_running()?;
    }
    ensure!(!waits.is_finished(), "the change does not wait for the disk");
    let holds =
        || Ok::<_, anyhow::Error>(cli(&["policy", "show", "-o", "json"])?.contains("1000/s"));
    ensure!(!holds()?, "it is in effect before it is saved");
    // A pipe cannot be synced: the change fails, and nothing changes.
    fs::read(NEW_OVERRIDES).context(NEW_OVERRIDES)?;
    let refused = waits.join().map_err(|_| anyhow!("the command line has panicked"))?;
    let refused =
        format!("{:#}", refused.err().context("a change that was not saved is in effect")?);
    ensure!(refused.contains("nothing is changed"), "{refused}");
    ensure!(!holds()?, "it is in effect though it is not saved");
    cli(&set)?;
    ensure!(holds()?, "a saved change is not in effect");
    cli(&["limit", "clear", "--vm", "web"])?;
    Ok(())
}
