//! # `guestreq doctor`
//!
//! On a ready host, and on the same host with prerequisites removed.

mod report;

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
pub use report::DoctorReport;

use super::{capacity, report::BUNDLE};
use crate::{
    agent::{Agent, cli, refusal_from},
    gate::Gate,
    host::{self, Firmware},
    load,
    scenario::{Context, Group, Status, scenario},
};

scenario!(READY: "doctor/ready" = ready, "doctor passes a ready host");
scenario!(COMPILER: "doctor/compiler" = compiler,
    "doctor says with which compiler DKMS builds the gate, if not with gcc");
scenario!(BROKEN: "doctor/broken" = broken, "doctor says what is missing and how to fix it");
scenario!(COMPLETION: "doctor/completion" = completion,
    "a shell completes the names of running VMs as one word");
scenario!(HUNG_PSP: "doctor/hung_psp" = hung_psp, "doctor does not hang with the PSP");

pub const GROUP: Group = Group {
    name: "doctor",
    // Last the one after which the PSP answers nobody.
    once: &[COMPILER, READY, capacity::ASIDS, BROKEN, COMPLETION, BUNDLE, HUNG_PSP],
    ..Group::DEFAULT
};

pub const CONFIG: &str = "/tmp/guestreq.toml";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const ENFORCE: &str = "mode = \"enforce\"\n";

/// Installs the gate where DKMS would.
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

fn ready(_: &Context) -> Result<Status> {
    let (gate, agent) = enforcing()?;
    let report = DoctorReport::get()?;
    println!("{}", cli(&["doctor", "--config", CONFIG])?);
    report.exits(0)?;
    // No kernel has yet what the fake firmware mitigates. Kernels that the rig builds have no
    // lockdown.
    let mut skipped = report.ids("skip");
    skipped.retain(|id| *id != "lockdown" || fs::exists(LOCKDOWN).unwrap_or(true));
    ensure!(skipped == ["mitigations"], "skipped: {skipped:?}");
    for (id, module) in [("kvm_amd", "kvm-amd"), ("ccp", "ccp")] {
        report.says(id, "pass", if host::is_built_in(module) { "built in" } else { "loaded" })?;
    }
    // Some compilers inline this function.
    let warned: Vec<_> =
        report.ids("warn").into_iter().filter(|id| *id != "symbol_snp_handle_guest_req").collect();
    ensure!(warned.is_empty() && report.ids("fail").is_empty(), "{}", report.json);

    // As nobody: a check that cannot see something does not fail.
    let mut command = Command::new("/bin/guestreq");
    command.args(["doctor", "-o", "json", "--config", CONFIG]).uid(65_534).gid(65_534);
    let report = DoctorReport::of(&mut command)?;
    report.exits(0)?;
    for id in ["kernel_addresses", "kprobes", "psp", "agent_running"] {
        report.says(id, "skip", "run with sudo to see")?;
    }
    drop(agent);
    cli(&["detach"])?;
    gate.remove()?;
    Ok(Status::Passed)
}

/// Before the gate is installed.
fn compiler(_: &Context) -> Result<Status> {
    let folder = format!("/lib/modules/{}", host::kernel()?);
    fs::create_dir_all(&folder).context(folder)?;
    let report = DoctorReport::of_enforcing_host()?;
    let banner = fs::read_to_string("/proc/version").context("/proc/version")?;
    let by_clang = banner.contains("clang version 19");
    let fix = match by_clang {
        true => "headers and clang, lld and llvm, best of version 19, which compiled this kernel",
        false => "install this kernel's headers, then `dkms install",
    };
    report.says("gate_installed", "fail", fix)?;
    Ok(Status::Passed)
}

fn broken(_: &Context) -> Result<Status> {
    let (gate, agent) = enforcing()?;
    gate.remove()?;
    let report = DoctorReport::get()?;
    report.exits(1)?;
    report.says("gate_loaded", "fail", "`modprobe guestreq_gate`")?;
    report.says("enforcement", "fail", "the gate is not loaded")?;
    report.says("agent_ready", "fail", "the gate is not loaded")?;

    agent.kill()?;
    let gate = Gate::load(&["closed=1"])?;
    let report = DoctorReport::get()?;
    // The pins are bound to the removed gate, not to this one.
    report.exits(1)?;
    report.says("agent_running", "warn", "sudo guestreq agent")?;
    report.says("pins", "fail", "nothing is enforced")?;
    report.says("gate_unanswered", "fail", "every guest request is denied")?;

    let mut detach = Command::new("/bin/guestreq");
    let (code, message) = refusal_from(detach.arg("detach"))?;
    ensure!(
        code == 1 && message.contains("the gate is closed (closed=Y)"),
        "exit {code}: {message}"
    );
    let output = cli(&["detach", "--yes"])?;
    ensure!(output.contains("every request of every VM is denied"), "{output}");
    let report = DoctorReport::get()?;
    report.exits(1)?;
    report.says("pins", "pass", "none at")?;
    report.says("gate_unanswered", "fail", "every guest request is denied")?;

    host::run_command("umount", &["/sys/fs/bpf"])?;
    fs::write("/proc/sys/kernel/kptr_restrict", "2").context("kptr_restrict")?;
    fs::write("/sys/kernel/debug/kprobes/enabled", "0").context("kprobes")?;
    let report = DoctorReport::get();
    fs::write("/sys/kernel/debug/kprobes/enabled", "1").context("kprobes")?;
    fs::write("/proc/sys/kernel/kptr_restrict", "1").context("kptr_restrict")?;
    host::run_command("mount", &["-t", "bpf", "bpf", "/sys/fs/bpf"])?;
    let report = report?;
    report.says("bpffs", "fail", "mount -t bpf bpf /sys/fs/bpf")?;
    report.says("kernel_addresses", "fail", "kernel.kptr_restrict=1")?;
    report.says("kprobes", "fail", "echo 1 > /sys/kernel/debug/kprobes/enabled")?;
    gate.remove()?;
    Ok(Status::Passed)
}

fn completion(_: &Context) -> Result<Status> {
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
    // Without an agent completion is silent.
    ensure!(ask("bash")?.is_empty(), "something without an agent");
    Ok(Status::Passed)
}

/// The last scenario of its boot: ccp waits long for the answer.
fn hung_psp(_: &Context) -> Result<Status> {
    fs::write(CONFIG, "mode = \"audit\"\n").context(CONFIG)?;
    Firmware::set("hang", 1)?;
    let begun = Instant::now();
    let report = DoctorReport::get()?;
    let took = begun.elapsed();
    report.exits(1)?;
    report.says("psp", "fail", "did not answer within 5 s")?;
    ensure!(took < Duration::from_secs(30), "it took {took:?}");
    Ok(Status::Passed)
}
