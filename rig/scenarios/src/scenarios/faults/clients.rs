//! # Too many clients, and such as never read

use std::{
    io::{self, Write as _},
    mem,
    net::TcpStream,
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{PATIENCE, Stage, go_on, is_told, open_files, web_runs};
use crate::{
    agent::{self, cli},
    host::wait_until,
};

pub const METRICS: &str = "127.0.0.1:9940";
const SOCKET: &str = "/run/guestreq/agent.sock";

/// Asks for more than any buffer takes, and reads nothing.
pub struct Scraper(TcpStream);

impl Scraper {
    pub fn start() -> Result<Scraper> {
        let mut stream = TcpStream::connect(METRICS).context(METRICS)?;
        let ask = "GET /metrics HTTP/1.1\r\nHost: rig\r\n\r\n".repeat(4000);
        stream.set_nonblocking(true)?;
        // Not more of it than is taken at once.
        let _ = stream.write(ask.as_bytes())?;
        Ok(Scraper(stream))
    }

    fn is_dropped(&mut self) -> bool {
        let gone = |error: io::Error| error.kind() != io::ErrorKind::WouldBlock;
        self.0.write(b"\r\n").is_err_and(gone)
    }
}

pub fn never_read(stage: &mut Stage) -> Result<()> {
    // Its time may be over by now: a new one, which others do not wait for.
    let mut second = Scraper::start()?;
    for _ in 0..5 {
        stage.agent.scrape()?;
    }
    ensure!(!second.is_dropped(), "a scrape is dropped at once");
    let scraper = &mut stage.scraper;
    wait_until("the scraper is dropped", PATIENCE, || Ok(scraper.is_dropped()))
}

pub fn thousand(stage: &mut Stage) -> Result<()> {
    let before = open_files(&stage.agent)?;
    limit_files(std::process::id(), 4096)?;
    let mut silent = Vec::new();
    let mut local = Vec::new();
    for i in 0..1000 {
        silent.push(TcpStream::connect(METRICS).with_context(|| format!("connection {i}"))?);
        if i % 4 == 0 {
            local.push(UnixStream::connect(SOCKET).with_context(|| format!("connection {i}"))?);
        }
    }
    stage.agent.scrape().context("beside them")?;
    web_runs().context("beside them")?;
    cli(&["limit", "set", "--vm", "web", "--rate", "1000/s", "--burst", "1000"])?;
    cli(&["limit", "clear", "--vm", "web"])?;
    let most = open_files(&stage.agent)?;
    println!("{before} descriptors before, {most} beside {}", silent.len() + local.len());
    // 64 and 128 places, who waits for one, and who is on the way out.
    ensure!(most <= before + 64 + 128 + 64 + 8, "{most} descriptors, {before} before");
    is_told("all 64 connections in use: closing the idlest ones")?;
    drop((silent, local));
    wait_until("they are let go of", PATIENCE, || Ok(open_files(&stage.agent)? <= before + 2))
}

pub fn descriptors(stage: &mut Stage) -> Result<()> {
    let pid = stage.agent.pid();
    // What is open stays; nothing more can be opened.
    let usual = limit_files(pid, 1)?;
    let waiting = TcpStream::connect(METRICS).context(METRICS)?;
    is_told("cannot accept connections: Too many open files")?;
    is_told("raise its limit")?;
    let (cpu, since) = (cpu_time(pid)?, Instant::now());
    go_on(20)?;
    // Long enough for every look that is taken at VMs.
    while since.elapsed() < Duration::from_secs(11) {
        thread::sleep(Duration::from_millis(200));
    }
    let (spent, passed) = (cpu_time(pid)? - cpu, since.elapsed());
    println!("{spent:.1?} of CPU in {passed:.1?} without descriptors");
    ensure!(spent < passed / 2, "it spins: {spent:?} of {passed:?}");
    limit_files(pid, usual)?;
    drop(waiting);
    wait_until("it is ready again", PATIENCE, || {
        Ok(agent::get("/readyz").is_ok_and(|(status, _)| status == 200))
    })?;
    // It was not taken for gone.
    web_runs()
}

/// User's and system's time of a process.
fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("its stat")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
}

/// Sets how many files a process may open; how many it could before.
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
