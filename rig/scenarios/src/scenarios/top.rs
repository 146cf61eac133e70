//! # guestreq top

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    agent::Agent,
    demo,
    host::Firmware,
    load,
    scenario::{Context, Status, scenario},
    screen::Screen,
};

scenario!(LIVE: "top/live" = live, "top shows which VM has the PSP and why others wait");

/// An emulated machine is slow.
const SCREEN_TIMEOUT: Duration = Duration::from_secs(60);

fn live(_: &Context) -> Result<Status> {
    Firmware::as_published()?;
    let mut agent = Agent::start(&[])?;
    let start = |guests: &&str| load::start(&format!("{guests} --seconds 90"));
    let guests: Vec<_> = demo::GUESTS.iter().map(start).collect::<Result<_>>()?;
    agent.wait_until("a window's worth of requests", |metrics| {
        metrics.sum("guestreq_messages_total", &[]) > 200.0
    })?;
    let mut command = Command::new("/bin/guestreq");
    let mut top = Screen::start(command.arg("top"), (100, 30), SCREEN_TIMEOUT)?;
    // Sparklines of some length.
    let busy_for = |text: &str| text.lines().nth(3).map_or(0, |line| line.matches('█').count());
    let text = top.wait_until("what the demo shows", |text| {
        text.contains("by PSP share") && busy_for(text) >= 12
    })?;
    println!("{text}");
    let rows: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("VM ")).collect();
    ensure!(rows.get(1).is_some_and(|row| row.starts_with("greedy ")), "{text}");
    ensure!(rows.iter().filter(|row| row.contains(" % ")).count() == 8, "8 VMs: {text}");
    let busy = text.split("busy").nth(1).and_then(|rest| rest.split_whitespace().next());
    let busy: f64 = busy.and_then(|busy| busy.parse().ok()).unwrap_or(0.0);
    ensure!((60.0..=100.0).contains(&busy), "busy {busy}: {text}");

    top.press("sss")?;
    let text = top.wait_until("by denied", |text| text.contains("by denied"))?;
    let rows: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("VM ")).collect();
    ensure!(rows.get(1).is_some_and(|row| row.starts_with("confused ")), "{text}");
    top.press("\r")?;
    let text = top.wait_for("would deny export")?;
    println!("{text}");
    ensure!(text.contains("VM confused") && text.contains("firecracker pid"), "{text}");
    top.press("q")?;
    ensure!(top.wait()?.success() && !top.is_alternate() && !top.is_cursor_hidden());
    drop(guests);
    Firmware::reset()?;
    Ok(Status::Passed)
}
