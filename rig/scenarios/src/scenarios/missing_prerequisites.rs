//! # Missing prerequisites
//!
//! In this order, as modules are loaded one by one.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Result, ensure};

use super::assert_exact;
use crate::{
    agent::{self, Agent},
    host::{self, Firmware},
    load,
    scenario::{Context, Group, Status, scenario},
};

scenario!(NO_KVM_AMD: "missing_prerequisites/kvm_amd" = no_kvm_amd,
    "without kvm_amd the agent refuses to start and says why");
scenario!(NO_ROOT: "missing_prerequisites/root" = no_root,
    "without root the agent refuses to start and says why");
scenario!(NO_BPF: "missing_prerequisites/bpf" = no_bpf,
    "without bpf(2) the agent refuses to start and says why");
scenario!(STAY: "missing_prerequisites/stay" = stay,
    "with --stay the agent stays up, but not ready");
scenario!(NO_SNP: "missing_prerequisites/snp" = no_snp,
    "without SNP the agent refuses to start and says why");
scenario!(STAY_RECOVERS: "missing_prerequisites/stay_recovers" = stay_recovers,
    "with --stay the agent observes as soon as it can");

pub const GROUP: Group = Group {
    name: "missing_prerequisites",
    prepare: || Ok(()),
    once: &[NO_KVM_AMD, NO_ROOT, NO_BPF, STAY, NO_SNP, STAY_RECOVERS],
    ..Group::DEFAULT
};

fn expect(result: (i32, String), words: &str) -> Result<Status> {
    let (code, line) = result;
    ensure!(code == 1 && line.contains(words), "exit {code}: {line}");
    println!("{line}");
    Ok(Status::Passed)
}

fn no_kvm_amd(_: &Context) -> Result<Status> {
    if host::is_built_in("kvm-amd") {
        return Ok(Status::Skipped("kvm_amd is built in, and always there"));
    }
    expect(agent::refusal(&[])?, "modprobe kvm_amd")
}

fn no_root(_: &Context) -> Result<Status> {
    let mut command = Command::new("/bin/guestreq");
    command.arg("agent").uid(65_534).gid(65_534);
    // It may not create its socket either; the first missing prerequisite is reported.
    expect(agent::refusal_from(&mut command)?, "run as root")
}

/// A kernel without bpf(2), simulated by a seccomp filter that returns ENOSYS.
fn no_bpf(_: &Context) -> Result<Status> {
    let mut command = Command::new("/bin/guestreq");
    command.arg("agent");
    // SAFETY: only async-signal-safe system calls between fork and exec.
    unsafe { command.pre_exec(refuse_bpf) };
    expect(agent::refusal_from(&mut command)?, "CONFIG_BPF_SYSCALL")
}

fn refuse_bpf() -> std::io::Result<()> {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let errno = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        instruction(LOAD_NUMBER, 0, 0, 0),
        instruction(JUMP_IF_EQUAL, 0, 1, libc::SYS_bpf as u32),
        instruction(RETURN, 0, 0, errno),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the filter outlives the call.
    let ret = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    if ret == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn stay(_: &Context) -> Result<Status> {
    let mut agent = Agent::spawn(&["--stay"])?;
    let metrics = agent_up(&mut agent)?;
    ensure!(metrics.contains("guestreq_build_info"), "{metrics}");
    let (status, reason) = agent::get("/readyz")?;
    ensure!(status == 503 && reason.contains("kvm_amd"), "{status} {reason}");
    ensure!(agent::get("/healthz")?.0 == 200, "not healthy");
    let (code, line) = agent::refusal_from(Command::new("/bin/guestreq").arg("vms"))?;
    // Where it is built in, it lacks only SNP.
    let names_it = line.contains("not observing: ") && line.contains("kvm_amd");
    ensure!(code == 1 && names_it, "{code} {line}");
    ensure!(agent.stop()?.code() == Some(0), "SIGTERM while waiting");
    Ok(Status::Passed)
}

fn agent_up(agent: &mut Agent) -> Result<String> {
    let up = |metrics: &crate::exposition::Metrics| !metrics.samples.is_empty();
    host::wait_until("the agent serves", std::time::Duration::from_secs(60), || {
        Ok(agent.scrape().is_ok_and(|metrics| up(&metrics)))
    })?;
    Ok(agent.scrape()?.text)
}

/// Like a host whose firmware has SNP disabled.
fn no_snp(context: &Context) -> Result<Status> {
    if context.is_realtime() {
        return Ok(Status::Skipped("without snpsim KVM refuses PREEMPT_RT on an emulated CPU"));
    }
    let modules = ["irqbypass", "kvm", "ccp", "kvm-amd"].into_iter();
    let modules: Vec<_> = modules.filter(|module| !host::is_built_in(module)).collect();
    for module in &modules {
        host::insmod(module, &[])?;
    }
    let refused = expect(agent::refusal(&[])?, "cannot run SNP guests");
    for module in modules.iter().rev() {
        host::rmmod(module)?;
    }
    refused
}

/// The agent starts before the modules are loaded.
fn stay_recovers(_: &Context) -> Result<Status> {
    let mut agent = Agent::spawn(&["--stay"])?;
    agent_up(&mut agent)?;
    host::load_all()?;
    host::wait_until("the agent is ready", std::time::Duration::from_secs(60), || {
        Ok(agent::get("/readyz")?.0 == 200)
    })?;
    let before = Firmware::read()?;
    load::run("--count 5")?;
    let answered = assert_exact(&agent, &before)?;
    ensure!(answered == 5, "{answered} of 5");
    Ok(Status::Passed)
}
