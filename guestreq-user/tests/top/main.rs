//! # guestreq top, as somebody would use it
//!
//! The real binary in a real terminal, with an agent that answers from a file. And what else it takes a
//! terminal to see.

mod agent;
mod screen;

use std::{
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use agent::Agent;
use anyhow::{Result, ensure};
use screen::Screen;
use tempfile::TempDir;

/// Machines that run tests are busy.
const SCREEN_TIMEOUT: Duration = Duration::from_secs(30);

/// A folder with an agent's socket in it, and the agent.
struct Host {
    _folder: TempDir,
    socket: PathBuf,
    agent: Option<Agent>,
}

impl Host {
    fn new() -> Result<Host> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("agent.sock");
        let agent = Some(Agent::start(&socket)?);
        Ok(Host { _folder: folder, socket, agent })
    }

    fn top(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_guestreq"));
        command.args(["top", "--interval", "200ms", "--socket"]).arg(&self.socket);
        command
    }

    /// `top`, once it shows VMs.
    fn start(&self) -> Result<Screen> {
        let mut screen = Screen::start(&mut self.top(), (80, 24), SCREEN_TIMEOUT)?;
        screen.wait_for("greedy")?;
        Ok(screen)
    }
}

#[test]
fn it_shows_vms_and_obeys_keys_and_leaves_the_terminal_as_it_found_it() -> Result<()> {
    let host = Host::new()?;
    // A terminal that nobody has used, to compare with.
    let mut idle = Screen::start(&mut Command::new("true"), (80, 24), SCREEN_TIMEOUT)?;
    idle.wait()?;
    let mut screen = host.start()?;
    ensure!(screen.is_alternate() && screen.modes()? != idle.modes()?);
    let text = screen.wait_for("evil_[2J_]0…")?;
    ensure!(text.contains("gate: enforcing, verified") && text.contains("9 VMs, by PSP share"));
    ensure!(text.lines().count() == 24 && text.lines().all(|line| line.chars().count() <= 80));
    // The line over time grows by itself.
    screen.wait_until("a line", |text| text.contains("▆▆▆▆▆"))?;

    screen.press("/web")?;
    screen.wait_for("2 of 9 VMs have \"web\"")?;
    screen.press("\r")?;
    screen.press("sss")?;
    screen.wait_for("by denied")?;
    screen.press("\x1b")?;
    screen.wait_for("9 VMs, by denied")?;
    screen.press("\r")?;
    let text = screen.wait_for("got BUSY report 7")?;
    ensure!(text.contains("VM web-1"), "{text}");
    screen.press("\x1b")?;
    screen.wait_for("9 VMs")?;
    screen.press("p")?;
    screen.wait_for("PAUSED")?;
    screen.press("?")?;
    screen.wait_for("Help")?;
    screen.press("xp")?;
    screen.wait_until("it resumes", |text| !text.contains("PAUSED"))?;

    screen.resize(10, 3)?;
    screen.wait_until("who has the PSP", |text| {
        text.starts_with("PSP 96 %") && text.contains("web… 1.9 %")
    })?;
    screen.resize(120, 40)?;
    screen.wait_for("q quit")?;
    screen.press("q")?;
    ensure!(screen.wait()?.success());
    ensure!(!screen.is_alternate() && !screen.is_cursor_hidden(), "{}", screen.text());
    ensure!(screen.modes()? == idle.modes()?);
    ensure!(screen.text().trim().is_empty(), "nothing is left: {}", screen.text());
    Ok(())
}

/// As a serial console is, which says that it has 0 columns.
#[test]
fn a_terminal_without_a_width_gets_tables_as_a_file_does() -> Result<()> {
    let mut command = Command::new("sh");
    let guestreq = env!("CARGO_BIN_EXE_guestreq");
    command.args(["-c", &format!("stty cols 0 rows 0; exec {guestreq} doctor --exit-zero")]);
    let mut screen = Screen::start(&mut command, (250, 250), SCREEN_TIMEOUT)?;
    ensure!(screen.wait()?.success(), "{}", screen.text());
    let text = screen.text();
    ensure!(text.contains("SEV-SNP in KVM"), "no words in columns: {text}");
    Ok(())
}

#[test]
fn a_panic_is_printed_on_a_terminal_that_was_given_back() -> Result<()> {
    let host = Host::new()?;
    let mut command = host.top();
    // A backtrace is longer than a screen.
    command.env("RUST_BACKTRACE", "0");
    // As a terminal is before: this one's modes may change before they are read.
    let mut idle = Screen::start(&mut Command::new("true"), (80, 24), SCREEN_TIMEOUT)?;
    idle.wait()?;
    let mut screen = Screen::start(command.arg("--panic"), (80, 24), SCREEN_TIMEOUT)?;
    ensure!(screen.wait()?.code() == Some(101));
    ensure!(!screen.is_alternate() && !screen.is_cursor_hidden());
    ensure!(screen.modes()? == idle.modes()?);
    let text = screen.text();
    ensure!(text.contains("panicked at") && text.contains("asked for by --panic"), "{text}");
    // In columns again: a line begins where lines begin.
    ensure!(text.lines().any(|line| line.starts_with("asked for")), "{text}");
    Ok(())
}

#[test]
fn signals_end_it_with_the_terminal_given_back() -> Result<()> {
    let host = Host::new()?;
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        let mut screen = host.start()?;
        screen.signal(signal)?;
        let status = screen.wait()?;
        ensure!(status.signal() == Some(signal), "signal {signal}: {status}");
        ensure!(!screen.is_alternate() && !screen.is_cursor_hidden(), "signal {signal}");
    }
    let mut screen = host.start()?;
    screen.press("\x03")?;
    ensure!(screen.wait()?.success(), "Ctrl-C is a way to leave");
    Ok(())
}

#[test]
fn a_suspended_one_gives_the_terminal_back_and_takes_it_again() -> Result<()> {
    let host = Host::new()?;
    let mut idle = Screen::start(&mut Command::new("true"), (80, 24), SCREEN_TIMEOUT)?;
    idle.wait()?;
    let mut screen = host.start()?;
    for way in ["a key", "a signal"] {
        match way {
            "a key" => screen.press("\x1a")?,
            _ => screen.signal(libc::SIGTSTP)?,
        }
        while !screen.is_stopped()? {
            screen.wait_until("anything", |_| true)?;
        }
        screen.wait_until("the terminal is given back", |text| !text.contains("greedy"))?;
        ensure!(!screen.is_alternate() && screen.modes()? == idle.modes()?, "by {way}");
        screen.signal(libc::SIGCONT)?;
        screen.wait_for("greedy")?;
        ensure!(screen.is_alternate() && screen.modes()? != idle.modes()?, "by {way}");
    }
    screen.press("q")?;
    ensure!(screen.wait()?.success() && screen.modes()? == idle.modes()?);
    Ok(())
}

#[test]
fn without_its_terminal_it_ends() -> Result<()> {
    let host = Host::new()?;
    let status = host.start()?.hang_up()?;
    ensure!(!status.success(), "{status}");
    Ok(())
}

#[test]
fn an_agent_that_goes_leaves_its_last_data_and_is_found_again() -> Result<()> {
    let mut host = Host::new()?;
    let mut screen = host.start()?;
    host.agent = None;
    let text = screen.wait_for("no agent answers at")?;
    ensure!(text.contains("greedy") && text.contains("STALE"), "{text}");
    host.agent = Some(Agent::start(&host.socket)?);
    screen.wait_until("it is found", |text| !text.contains("STALE"))?;
    screen.press("q")?;
    ensure!(screen.wait()?.success());
    Ok(())
}

#[test]
fn what_cannot_be_shown_is_one_line_and_exit_status_1() -> Result<()> {
    let mut host = Host::new()?;
    let output = host.top().stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && output.stdout.is_empty());
    ensure!(said.lines().count() == 1 && said.contains("guestreq vms -o json"), "{said}");

    host.agent = None;
    let mut screen = Screen::start(&mut host.top(), (120, 24), SCREEN_TIMEOUT)?;
    ensure!(screen.wait()?.code() == Some(1));
    let text = screen.text();
    ensure!(text.trim().lines().count() == 1, "{text}");
    ensure!(text.starts_with("guestreq: no agent answers at"), "{text}");

    let mut screen =
        Screen::start(host.top().args(["--interval", "0s"]), (120, 24), SCREEN_TIMEOUT)?;
    ensure!(screen.wait()?.code() == Some(2), "{}", screen.text());
    Ok(())
}
