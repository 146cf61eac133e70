//! # The command line, policy files, VM names and the socket

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};

use super::{STATE, allows, decided, end, fresh, mount, policy, refused, start};
use crate::{
    agent::{self, Agent, cli, vm_named},
    gate::Gate,
    host::{self, Firmware},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(APPLIED: "config/applied" = applied, "a policy file is applied atomically");
scenario!(FULL_DISK: "config/full_disk" = full_disk,
    "on a full disk a change is refused, and nothing changes");
scenario!(WRONG_REQUESTS: "config/wrong_requests" = wrong_requests,
    "unknown VMs and missing permissions get an error that says what is right");

const FILE: &str = "/tmp/config/apply.toml";

fn applied(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    fresh("")?;
    let agent = start(&[])?;
    let exporter = load::start("--vmm qemu --name exporter --type report --count 3 --hold")?;
    fs::write(
        FILE,
        "allow = [\"report\", \"export\"]\n[[vm]]\nmatch = { name = \"exp*\" }\nallow = []\n",
    )?;
    let (checked, before) = (cli(&["policy", "check", FILE])?, policy()?);
    println!("$ guestreq policy check {FILE}\n{checked}");
    host::wait_until("its reports are counted", std::time::Duration::from_secs(20), || {
        Ok(cli(&["vms"])?.contains("report 3"))
    })?;
    // One VM would lose a VMPCK: nothing is applied.
    let line = refused(&["policy", "apply", FILE])?;
    ensure!(line.contains("\"exporter\" has sent report (--yes"), "{line}");
    ensure!(policy()?["default"] == before["default"], "some of it holds: {}", policy()?);
    decided("not-yet", false)?;
    for (text, why) in [
        ("mode = \"audit\"\nlisten = \"[::]:1\"\n", "listen cannot be applied"),
        ("allow = [\"export\"]\nmode = \"on\"\n", "line 2, column 8: unknown mode"),
        ("limit = { rate = \"1/m\" }\n", "is too slow"),
        ("\n", "sets nothing"),
    ] {
        fs::write("/tmp/config/wrong.toml", text)?;
        let line = refused(&["policy", "apply", "/tmp/config/wrong.toml"])?;
        ensure!(line.contains(why), "{line}");
    }
    println!("$ guestreq policy apply {FILE} --yes\n{}", cli(&["policy", "apply", FILE, "--yes"])?);
    decided("then", true)?;
    decided("exp-2", false)?;
    let log = agent::log();
    let reported = log
        .lines()
        .find(|line| line.contains("uid 0 applied /tmp/config/apply.toml: default: mode"));
    println!("{}", reported.context("it is not logged")?);
    println!("{}", cli(&["policy", "show"])?);

    // It survives the agent's restart until it is cleared.
    agent.kill()?;
    let agent = start(&[])?;
    let shown = policy()?;
    ensure!(shown["default"]["allow"]["origin"]["from"] == "applied", "{}", shown["default"]);
    cli(&["policy", "apply", "--clear"])?;
    ensure!(!allows(&policy()?["default"], "export"), "{}", policy()?["default"]);
    decided("no-more", false)?;
    exporter.finish()?;
    suggested()?;
    end(agent, gate)?;
    Ok(Status::Passed)
}

/// The suggested command works.
fn suggested() -> Result<()> {
    Firmware::set("latency_us", 5_000)?;
    load::run("--vmm qemu --name measured --count 110")?;
    Firmware::reset()?;
    let text = cli(&["limit", "suggest", "--vms", "20", "--share", "40%"])?;
    println!("$ guestreq limit suggest --vms 20 --share 40%\n{text}");
    let command = text.lines().last().and_then(|line| line.strip_prefix("guestreq "));
    let words: Vec<&str> = command.context("no command")?.split(' ').collect();
    cli(&words)?;
    println!("{}", cli(&["limit", "show"])?);
    cli(&["limit", "clear", "--default"])?;
    Ok(())
}

fn full_disk(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    fresh("")?;
    mount(STATE, 16)?;
    let agent = start(&[])?;
    cli(&["policy", "allow", "export", "--default"])?;
    decided("allowed", true)?;
    let kept = fs::read(format!("{STATE}/overrides.json"))?;
    // Fills the disk.
    let _ = fs::write(format!("{STATE}/filler"), vec![0; 64 << 10]);
    let line = refused(&["policy", "deny", "export", "--default"])?;
    println!("{line}");
    let says = line.contains("cannot be written, nothing is changed: No space left on device");
    ensure!(says && !line.contains('\n'), "{line}");
    ensure!(allows(&policy()?["default"], "export"), "{}", policy()?["default"]);
    decided("still-allowed", true)?;
    ensure!(fs::read(format!("{STATE}/overrides.json"))? == kept, "the file is another one");
    ensure!(!fs::exists(format!("{STATE}/overrides.json.new"))?, "a temporary file is left");
    fs::remove_file(format!("{STATE}/filler"))?;
    cli(&["policy", "deny", "export", "--default"])?;
    decided("denied", false)?;
    end(agent, gate)?;
    host::run_command("umount", &[STATE])?;
    Ok(Status::Passed)
}

const GROUP: u32 = 990;
const NOBODY: u32 = 65534;

/// Runs guestreq as a user in this group only.
fn as_member(group: u32, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new("/bin/guestreq");
    command.uid(NOBODY).gid(group).args(arguments).output().context("guestreq")
}

fn wrong_requests(_: &Context) -> Result<Status> {
    let line = refused(&["vms"])?;
    ensure!(line.contains("`sudo systemctl start guestreq`, or `sudo guestreq agent`"), "{line}");
    fs::write("/etc/group", format!("root:x:0:\nguestreq:x:{GROUP}:\n"))?;
    fresh("")?;
    fs::write(super::MAIN, format!("state = \"{STATE}\"\nsocket_group = \"nobody\"\n"))?;
    let (code, line) = agent::refusal(&["--config", super::MAIN])?;
    ensure!(code == 1 && line.contains("there is no group \"nobody\""), "{code} {line}");
    fs::write(super::MAIN, format!("state = \"{STATE}\"\n"))?;
    let agent = start(&[])?;
    socket()?;
    names(&agent)?;
    agent.stop()?;
    fs::remove_file("/etc/group")?;
    Ok(Status::Passed)
}

/// Members of an existing group may read; nobody may write.
fn socket() -> Result<()> {
    let output = as_member(GROUP, &["policy", "show"])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "a member may not read: {stderr}");
    let output = as_member(GROUP, &["limit", "set", "--default", "--rate", "5/s"])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(stderr.contains("uid 65534 may not change anything"), "{stderr}");
    let output = as_member(NOBODY, &["vms"])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        stderr.contains("join group guestreq") && stderr.contains("usermod -aG guestreq"),
        "{stderr}"
    );
    ensure!(output.status.code() == Some(1) && stderr.lines().count() == 1, "{stderr}");
    print!("{stderr}");
    Ok(())
}

fn names(agent: &Agent) -> Result<()> {
    let long = "x".repeat(4000);
    let hostile = "a\"b\u{1b}[31m";
    let mut held = Vec::new();
    for name in ["web-1", "web-2", hostile, &long] {
        held.push(load::start(&format!("--vmm qemu --name {name} --count 1 --hold"))?);
    }
    host::wait_until("they are known", std::time::Duration::from_secs(20), || {
        Ok(agent.scrape()?.select("guestreq_vm_info", &[]).count() == 4)
    })?;
    let line = refused(&["limit", "set", "--vm", "wbe-1", "--off"])?;
    println!("{line}");
    ensure!(line.contains("no VM \"wbe-1\": did you mean \"web-1\"; \"web-2\"?"), "{line}");
    let line = refused(&["limit", "set", "--vm", &long[1..], "--off"])?;
    ensure!(line.len() < 400 && line.contains("(3999 characters)"), "{line}");
    let web = vm_named("web-1")?;
    let (uuid, pid) = (web["uuid"].as_str().context("no uuid")?, web["pid"].to_string());
    for name in ["web-1", uuid, &pid, &format!("pid:{pid}"), hostile, &long] {
        cli(&["limit", "set", "--vm", name, "--rate", "9/s"]).context("by this name")?;
    }
    let shown = cli(&["limit", "show"])?;
    println!("{shown}");
    ensure!(shown.lines().filter(|line| line.contains("  9/s, burst ")).count() == 3, "{shown}");
    let fits = shown.lines().all(|line| line.chars().count() < 140 && !line.contains('\u{1b}'));
    ensure!(fits && shown.contains("xxxx…"), "{shown}");
    for load in held {
        load.finish()?;
    }
    Ok(())
}
