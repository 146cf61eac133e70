//! # What `guestreq doctor` says
//!
//! Of a host that is ready, and of the same host with something taken away.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    agent::{Agent, cli, refusal_of},
    gate::Gate,
    host::{self, Firmware},
    load,
    scenario::{Context, Outcome, Scenario},
};

pub const READY: Scenario = Scenario { name: "doctor_passes_a_ready_host", check: ready };
pub const BROKEN: Scenario =
    Scenario { name: "doctor_says_what_is_missing_and_how_to_mend_it", check: broken };
pub const COMPLETION: Scenario =
    Scenario { name: "a_shell_completes_running_vms_as_one_word", check: completion };
pub const HUNG_PSP: Scenario =
    Scenario { name: "doctor_returns_from_a_psp_that_hangs", check: hung_psp };
pub const NO_LSM: Scenario =
    Scenario { name: "doctor_says_how_bpf_comes_among_the_lsms", check: no_lsm };

const CONFIG: &str = "/tmp/guestreq.toml";
const ENFORCE: &str = "mode = \"enforce\"\n";

pub struct Report {
    code: Option<i32>,
    json: Value,
}

impl Report {
    /// Of a host that is to enforce.
    pub fn of_enforcing_host() -> Result<Report> {
        fs::write(CONFIG, ENFORCE).context(CONFIG)?;
        Report::get()
    }

    /// What the configuration of the agents here leads to.
    fn get() -> Result<Report> {
        let mut command = Command::new("/bin/guestreq");
        Report::of(command.args(["doctor", "-o", "json", "--config", CONFIG]))
    }

    fn of(command: &mut Command) -> Result<Report> {
        let output = command.output().context("guestreq doctor")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(said.is_empty(), "it said {said}");
        let json = serde_json::from_slice(&output.stdout).context("doctor's JSON")?;
        Ok(Report { code: output.status.code(), json })
    }

    fn ids(&self, state: &str) -> Vec<&str> {
        let checks = self.json["checks"].as_array().into_iter().flatten();
        let of_state = checks.filter(|check| check["state"] == state);
        of_state.filter_map(|check| check["id"].as_str()).collect()
    }

    /// One check is in this state, and says this in what it found or how it is mended.
    pub fn says(&self, id: &str, state: &str, part: &str) -> Result<()> {
        let mut checks = self.json["checks"].as_array().into_iter().flatten();
        let check = checks.find(|check| check["id"] == id).context(id.to_owned())?;
        let text = format!("{} {}", check["why"], check["fix"]);
        ensure!(check["state"] == state && text.contains(part), "{check}");
        Ok(())
    }

    fn exits(&self, code: i32) -> Result<()> {
        ensure!(self.code == Some(code), "exit {:?}: {}", self.code, self.json);
        Ok(())
    }
}

/// The gate where DKMS would have put it.
fn install_gate() -> Result<()> {
    let folder = format!("/lib/modules/{}", host::kernel()?);
    let module = "updates/dkms/guestreq_gate.ko";
    fs::create_dir_all(format!("{folder}/updates/dkms")).context("a folder for the gate")?;
    fs::copy("/modules/guestreq_gate.ko", format!("{folder}/{module}")).context("the gate")?;
    fs::write(format!("{folder}/modules.dep"), format!("{module}:\n")).context("modules.dep")
}

fn enforcing() -> Result<(Gate, Agent)> {
    install_gate()?;
    let gate = Gate::load(&[])?;
    Ok((gate, Agent::with_config(ENFORCE)?))
}

fn ready(_: &Context) -> Result<Outcome> {
    let (gate, agent) = enforcing()?;
    let report = Report::get()?;
    println!("{}", cli(&["doctor", "--config", CONFIG])?);
    report.exits(0)?;
    // Kernels of which the fake firmware knows what it mends are still to come.
    ensure!(report.ids("skip") == ["mitigations"], "skipped: {:?}", report.ids("skip"));
    // Some compilers inline this one.
    let warned: Vec<_> =
        report.ids("warn").into_iter().filter(|id| *id != "symbol_snp_handle_guest_req").collect();
    ensure!(warned.is_empty() && report.ids("fail").is_empty(), "{}", report.json);

    // Nobody's eyes: what they do not see fails nothing.
    let mut command = Command::new("/bin/guestreq");
    command.args(["doctor", "-o", "json", "--config", CONFIG]).uid(65_534).gid(65_534);
    let report = Report::of(&mut command)?;
    report.exits(0)?;
    for id in ["kernel_addresses", "kprobes", "psp", "agent_running"] {
        report.says(id, "skip", "run with sudo to see")?;
    }
    drop(agent);
    cli(&["detach"])?;
    gate.remove()?;
    Ok(Outcome::Kept)
}

fn broken(_: &Context) -> Result<Outcome> {
    let (gate, agent) = enforcing()?;
    gate.remove()?;
    let report = Report::get()?;
    report.exits(1)?;
    report.says("gate_loaded", "fail", "`modprobe guestreq_gate`")?;
    report.says("enforcement", "fail", "the gate is not loaded")?;
    report.says("agent_ready", "fail", "the gate is not loaded")?;

    agent.kill()?;
    let gate = Gate::load(&["closed=1"])?;
    let report = Report::get()?;
    // What it left knew the gate that is gone, and not this one.
    report.exits(1)?;
    report.says("agent_running", "warn", "sudo guestreq agent")?;
    report.says("pins", "fail", "nothing is enforced")?;
    report.says("gate_unanswered", "fail", "every guest request is denied")?;

    // Row 2 of the second review.
    let mut detach = Command::new("/bin/guestreq");
    let (code, said) = refusal_of(detach.arg("detach"))?;
    ensure!(code == 1 && said.contains("the gate is closed (closed=Y)"), "exit {code}: {said}");
    let said = cli(&["detach", "--yes"])?;
    ensure!(said.contains("every request of every VM is denied"), "{said}");
    let report = Report::get()?;
    report.exits(1)?;
    report.says("pins", "pass", "none at")?;
    report.says("gate_unanswered", "fail", "every guest request is denied")?;

    host::run_command("umount", &["/sys/fs/bpf"])?;
    fs::write("/proc/sys/kernel/kptr_restrict", "2").context("kptr_restrict")?;
    fs::write("/sys/kernel/debug/kprobes/enabled", "0").context("kprobes")?;
    let report = Report::get();
    fs::write("/sys/kernel/debug/kprobes/enabled", "1").context("kprobes")?;
    fs::write("/proc/sys/kernel/kptr_restrict", "1").context("kptr_restrict")?;
    host::run_command("mount", &["-t", "bpf", "bpf", "/sys/fs/bpf"])?;
    let report = report?;
    report.says("bpffs", "fail", "mount -t bpf bpf /sys/fs/bpf")?;
    report.says("kernel_addresses", "fail", "kernel.kptr_restrict=1")?;
    report.says("kprobes", "fail", "echo 1 > /sys/kernel/debug/kprobes/enabled")?;
    gate.remove()?;
    Ok(Outcome::Kept)
}

fn completion(_: &Context) -> Result<Outcome> {
    let agent = Agent::with_config("mode = \"audit\"\n")?;
    let vm = load::start("--vmm qemu --name a;b(c) --seconds 5 --rate 4")?;
    host::wait_until("the VM is known", Duration::from_secs(20), || {
        Ok(cli(&["vms"])?.contains("a;b(c)"))
    })?;
    let words = ["guestreq", "limit", "clear", "--vm", "a"];
    let ask = |shell: &str| -> Result<String> {
        let mut command = Command::new("/bin/guestreq");
        command.env("GUESTREQ_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", "4");
        let output = command.arg("--").args(words).output().context("completing")?;
        ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let word = ask("bash")?;
    vm.finish()?;
    ensure!(word == "a\\;b\\(c\\)", "{word:?}");
    agent.stop()?;
    // Nobody is there to be asked, and nobody is told so in the middle of a line.
    ensure!(ask("bash")?.is_empty(), "something without an agent");
    Ok(Outcome::Kept)
}

/// The last one of its boot: ccp waits long for the answer.
fn hung_psp(_: &Context) -> Result<Outcome> {
    fs::write(CONFIG, "mode = \"audit\"\n").context(CONFIG)?;
    Firmware::set("hang", 1)?;
    let begun = Instant::now();
    let report = Report::get()?;
    let took = begun.elapsed();
    report.exits(1)?;
    report.says("psp", "fail", "did not answer within 5 s")?;
    ensure!(took < Duration::from_secs(30), "it took {took:?}");
    Ok(Outcome::Kept)
}

/// In a kernel that was booted so.
fn no_lsm(_: &Context) -> Result<Outcome> {
    fs::write(CONFIG, ENFORCE).context(CONFIG)?;
    let report = Report::get()?;
    report.exits(1)?;
    report.says("lsm_bpf", "fail", ",bpf on the kernel's command line")?;
    fs::write(CONFIG, "mode = \"audit\"\n").context(CONFIG)?;
    Report::get()?.says("lsm_bpf", "warn", "only enforcement needs it")?;
    Ok(Outcome::Kept)
}
