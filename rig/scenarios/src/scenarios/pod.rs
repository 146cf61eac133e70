//! # In a pod

use anyhow::{Result, ensure};

use crate::{
    agent::{self, Agent, cli, get},
    gate::Gate,
    host::Firmware,
    load,
    pod::Pod,
    scenario::{Context, Outcome, Scenario},
};

pub const DOES_EVERYTHING: Scenario = Scenario {
    name: "with_what_the_daemonset_grants_and_no_more_the_agent_observes_and_enforces",
    check: does_everything,
};

fn does_everything(_: &Context) -> Result<Outcome> {
    let gate = Gate::load(&[])?;
    let doctor = Pod::of("enforce", "DaemonSet", "doctor")?;
    let output = doctor.command()?.output()?;
    println!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    println!("doctor: {:?}", output.status);
    let pod = Pod::agent()?;
    let agent = Agent::of(&mut pod.command()?)?;
    println!("{}", agent::log());
    println!("{:?}", get("/readyz"));
    println!("{:?}", cli(&["vms"]));
    println!("{:?}", pod.exec(&["policy", "show"]));
    let before = Firmware::read()?;
    let seen = load::run("--vms 2 --vmm qemu --processes --count 10 --type report,export")?;
    println!("{:?} {:?}", seen.outcomes, Firmware::read()?.since(&before).messages);
    println!("{}", cli(&["vms"])?);
    println!("{:?}", agent.stop()?);
    println!("{}", agent::log());
    let job = Pod::of("detach", "Job", "detach")?;
    let output = job.command()?.output()?;
    println!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(output.status.success(), "detach");
    for capability in Pod::agent()?.capabilities() {
        let pod = Pod::agent()?.without(&capability);
        let agent = Agent::spawn_of(&mut pod.command()?);
        std::thread::sleep(std::time::Duration::from_secs(6));
        println!("without {capability}: {:?} {:?}", get("/readyz"), agent.is_ok());
        println!("{}", agent::log());
        drop(agent);
        cli(&["detach"])?;
    }
    gate.remove()?;
    Ok(Outcome::Kept)
}
