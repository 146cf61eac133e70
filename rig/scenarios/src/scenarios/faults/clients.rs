//! # Too many clients, and clients that never read

use std::{
    io::{self, Write as _},
    mem,
    net::TcpStream,
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    FaultyHost, STEP_TIMEOUT, open_files, requests_continue, wait_for_log, web_is_running,
};
use crate::{
    agent::{self, cli},
    host::wait_until,
};

pub const METRICS: &str = "127.0.0.1:9940";
const SOCKET: &str = "/run/guestreq/agent.sock";

/// Requests more than any buffer holds and reads nothing.
pub struct Scraper(TcpStream);

impl Scraper {
    pub fn start() -> Result<Scraper> {
        let mut stream = TcpStream::connect(METRICS).context(METRICS)?;
        let ask = "GET /metrics HTTP/1.1\r\nHost: rig\r\n\r\n".repeat(4000);
        stream.set_nonblocking(true)?;
        // As much as one write takes.
        let _ = stream.write(ask.as_bytes())?;
        Ok(Scraper(stream))
    }

    fn is_dropped(&mut self) -> bool {
        let gone = |error: io::Error| error.kind() != io::ErrorKind::WouldBlock;
        self.0.write(b"\r\n").is_err_and(gone)
    }
}

pub fn never_read(host: &mut FaultyHost) -> Result<()> {
    // The first may have timed out by now: a second one, for which others do not wait.
    let mut second = Scraper::start()?;
    for _ in 0..5 {
        host.agent.scrape()?;
    }
    ensure!(!second.is_dropped(), "a scrape is dropped at once");
    let scraper = &mut host.scraper;
    wait_until("the scraper is dropped", STEP_TIMEOUT, || Ok(scraper.is_dropped()))
}

pub fn thousand(host: &mut FaultyHost) -> Result<()> {
    let before = open_files(&host.agent)?;
    limit_files(std::process::id(), 4096)?;
    let mut silent = Vec::new();
    let mut local = Vec::new();
    for i in 0..1000 {
        silent.push(TcpStream::connect(METRICS).with_context(|| format!("connection {i}"))?);
        if i % 4 == 0 {
            local.push(UnixStream::connect(SOCKET).with_context(|| format!("connection {i}"))?);
        }
    }
    host.agent.scrape().context("with many connections")?;
    web_is_running().context("with many connections")?;
    cli(&["limit", "set", "--vm", "web", "--rate", "1000/s", "--burst", "1000"])?;
    cli(&["limit", "clear", "--vm", "web"])?;
    let most = open_files(&host.agent)?;
    println!("{before} descriptors before, {most} with {} connections", silent.len() + local.len());
    // 64 and 128 connections, those waiting, and those being closed.
    ensure!(most <= before + 64 + 128 + 64 + 8, "{most} descriptors, {before} before");
    wait_for_log("all 64 connections in use: closing the idlest ones")?;
    drop((silent, local));
    wait_until("they are let go of", STEP_TIMEOUT, || Ok(open_files(&host.agent)? <= before + 2))
}

pub fn descriptors(host: &mut FaultyHost) -> Result<()> {
    let pid = host.agent.pid();
    // Open files stay open; no more can be opened.
    let usual = limit_files(pid, 1)?;
    let waiting = TcpStream::connect(METRICS).context(METRICS)?;
    wait_for_log("cannot accept connections: Too many open files")?;
    wait_for_log("raise its limit")?;
    let (cpu, since) = (cpu_time(pid)?, Instant::now());
    requests_continue(20)?;
    // Longer than every interval at which the agent checks VMs.
    while since.elapsed() < Duration::from_secs(11) {
        thread::sleep(Duration::from_millis(200));
    }
    let (spent, passed) = (cpu_time(pid)? - cpu, since.elapsed());
    println!("{spent:.1?} of CPU in {passed:.1?} without descriptors");
    ensure!(spent < passed / 2, "it spins: {spent:?} of {passed:?}");
    limit_files(pid, usual)?;
    drop(waiting);
    wait_until("it is ready again", STEP_TIMEOUT, || {
        Ok(agent::get("/readyz").is_ok_and(|(status, _)| status == 200))
    })?;
    // It was not taken for exited.
    web_is_running()
}

/// User and system time of a process.
fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("its stat")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
}

/// Limits a process' open files and returns the old limit.
fn limit_files(pid: u32, most: u64) -> Result<u64> {
    let pid = i32::try_from(pid).context("a pid")?;
    // SAFETY: integers, for which zeros are a value.
    let mut old: libc::rlimit = unsafe { mem::zeroed() };
    // SAFETY: both structures outlive the calls.
    let ret = unsafe {
        libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &mut old);
        let new = libc::rlimit { rlim_cur: most, rlim_max: old.rlim_max.max(most) };
        libc::prlimit(pid, libc::RLIMIT_NOFILE, &new, std::ptr::null_mut())
    };
    ensure!(ret == 0, "prlimit: {}", io::Error::last_os_error());
    Ok(old.rlim_cur)
}
