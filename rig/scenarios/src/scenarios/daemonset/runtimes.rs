//! # Seccomp profiles of container runtimes
//!
//! containerd's profiles allow what the agent's capabilities are for. CRI-O's does not, and the
//! agent says what is refused; with its own profile in deploy/kubernetes/localhost it works
//! everywhere.

use anyhow::{Result, ensure};

use super::{decided, is_seen, missing::says, run};
use crate::{
    agent::{self, Agent},
    gate::Gate,
    pod::{Pod, Runtime},
    scenario::{Context, Status, scenario},
};

scenario!(night DEFAULT_PROFILES: "daemonset/default_profiles" = default_profiles,
    "the pod works under containerd's default profiles, and says what CRI-O's refuses");
scenario!(night OWN_PROFILE: "daemonset/own_profile" = own_profile,
    "the pod works under its own seccomp profile with every runtime");

const REFUSED: &str = "a seccomp profile refuses perf_event_open(2)";

fn default_profiles(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    for runtime in [Runtime::Containerd1, Runtime::Containerd2] {
        let doctor = Pod::from_manifest("enforce", "DaemonSet", "doctor")?.under(runtime);
        works(Pod::agent()?.under(runtime), &doctor, runtime)?;
    }
    gate.remove()?;
    says(&Pod::agent()?.under(Runtime::CriO), REFUSED)?;
    let found = run(&Pod::from_manifest("enforce", "DaemonSet", "doctor")?.under(Runtime::CriO))?;
    let fails = |title: &str| {
        let line = found.lines().find(|line| line.contains(title)).unwrap_or_default();
        println!("{line}");
        line.contains("FAIL") && line.contains(REFUSED)
    };
    ensure!(fails(" seccomp ") && fails(" Kprobes "), "{found}");
    ensure!(found.contains("deploy/kubernetes/localhost"), "no remedy: {found}");
    Ok(Status::Passed)
}

fn own_profile(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    for runtime in Runtime::ALL {
        let doctor = Pod::from_manifest("localhost", "DaemonSet", "doctor")?.under(runtime);
        let pod = Pod::from_manifest("localhost", "DaemonSet", "agent")?.under(runtime);
        works(pod, &doctor, runtime)?;
    }
    gate.remove()?;
    Ok(Status::Passed)
}

/// Doctor passes, the agent enforces, its command line answers, it stops, and the Job detaches
/// under the runtime's default profile.
fn works(pod: Pod, doctor: &Pod, runtime: Runtime) -> Result<()> {
    let name = &format!("{runtime:?}");
    let found = run(doctor)?;
    ensure!(found.lines().any(|line| line.starts_with("0 failed,")), "{name}: {found}");
    let agent = Agent::start_command(&mut pod.command()?)?;
    decided(name, false)?;
    is_seen(&pod, &format!("{name}-seen"))?;
    ensure!(!agent::log().contains("WARN"), "{name}: it warns: {}", agent::log());
    ensure!(agent.stop()?.success(), "{name}: it did not stop cleanly");
    let output = run(&Pod::from_manifest("detach", "Job", "detach")?.under(runtime))?;
    ensure!(output.contains("Detached."), "{name}: {output}");
    println!("{name}: works");
    Ok(())
}
