//! # The configuration of a running agent

pub mod applied;
pub mod reload;

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    agent::{Agent, cli, refusal_from},
    gate::Gate,
    host::{self, Firmware, wait_until},
    load,
};

const FOLDER: &str = "/tmp/config";
const MAIN: &str = "/tmp/config/config.toml";
const STATE: &str = "/tmp/config/state";

/// A configuration with these lines.
fn lines(more: &str) -> String {
    format!("state = \"{STATE}\"\nmode = \"enforce\"\n{more}")
}

/// Creates an empty folder with this configuration.
fn fresh(more: &str) -> Result<()> {
    cli(&["detach"])?;
    let _ = fs::remove_dir_all(FOLDER);
    fs::create_dir_all(format!("{FOLDER}/conf.d"))?;
    fs::write(MAIN, lines(more)).context(MAIN)
}

fn start(arguments: &[&str]) -> Result<Agent> {
    Agent::start(&[&["--config", MAIN], arguments].concat())
}

/// Replaces a file atomically, as editors do.
fn replace(path: &str, text: &str) -> Result<()> {
    let new = format!("{path}.new");
    fs::write(&new, text).with_context(|| new.clone())?;
    fs::rename(&new, path).with_context(|| path.to_owned())
}

/// Replaces the files as Kubernetes does: they are links through one link, which is swapped.
fn swap(version: u32, text: &str) -> Result<()> {
    let folder = format!("{FOLDER}/..{version}");
    fs::create_dir(&folder)?;
    fs::write(format!("{folder}/config.toml"), text)?;
    let turn = format!("{FOLDER}/..data_tmp");
    symlink(format!("..{version}"), &turn)?;
    fs::rename(turn, format!("{FOLDER}/..data"))?;
    if !Path::new(MAIN).is_symlink() {
        fs::remove_file(MAIN)?;
        symlink("..data/config.toml", MAIN)?;
    }
    Ok(())
}

fn policy() -> Result<Value> {
    Ok(serde_json::from_str(&cli(&["policy", "show", "-o", "json"])?)?)
}

/// Waits for a condition on `policy show`.
fn shows(what: &str, so: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    let waited = wait_until(what, Duration::from_secs(20), || {
        last = policy()?;
        Ok(so(&last))
    });
    waited.with_context(|| format!("{}, {}", last["config"], last["default"]))?;
    Ok(last)
}

fn allows(policy: &Value, message: &str) -> bool {
    policy["allow"]["value"].as_array().is_some_and(|all| all.iter().any(|kind| kind == message))
}

/// Checks whether the first export of a new VM with this name passes.
fn decided(name: &str, passes: bool) -> Result<()> {
    let before = Firmware::read()?;
    let seen = load::run(&format!("--vmm qemu --name {name} --type export --count 1"))?;
    let passed = Firmware::read()?.since(&before).guest_requests;
    let outcome = if passes { "ok" } else { "fw:0x16" };
    let right = seen.outcomes["7"].get(outcome) == Some(&1) && passed == u64::from(passes);
    ensure!(right, "{name}: {:?}, {passed} reached the PSP", seen.outcomes);
    Ok(())
}

/// The message of a command that is expected to refuse.
fn refused(arguments: &[&str]) -> Result<String> {
    let (code, line) = refusal_from(std::process::Command::new("/bin/guestreq").args(arguments))?;
    ensure!(code == 1, "exit status {code}: {line}");
    Ok(line)
}

fn end(agent: Agent, gate: Gate) -> Result<()> {
    agent.kill()?;
    cli(&["detach"])?;
    gate.remove()
}

/// Mounts a file system of this size.
fn mount(path: &str, kib: u32) -> Result<()> {
    fs::create_dir_all(path)?;
    host::run_command("mount", &["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs", path])
}
