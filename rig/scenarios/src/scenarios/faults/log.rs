//! # A log that nobody reads
//!
//! It once blocked the agent, even SIGTERM.

use std::{
    fs::File,
    io::{self, PipeReader, Read as _, Write as _},
    os::fd::{AsRawFd as _, OwnedFd},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use libc::SIGTERM;

use super::{FaultyHost, requests_continue, web_is_running};
use crate::{
    agent::{Agent, cli},
    scenarios::takeover,
};

pub fn blocked(host: &mut FaultyHost) -> Result<()> {
    let (reader, writer) = io::pipe().context("a pipe")?;
    let writer = fill(File::from(OwnedFd::from(writer)))?;
    takeover::end_by_signal(&host.agent, SIGTERM)?;
    let mut command = Command::new("/bin/guestreq");
    command.args(["agent", "--config", takeover::CONFIG]);
    host.agent = Agent::spawn_to(&mut command, Stdio::from(writer))?.wait_until_ready()?;
    drop(command);
    requests_continue(10).context("with an unread log")?;
    web_is_running()?;
    cli(&["limit", "set", "--vm", "web", "--rate", "1000/s", "--burst", "1000"])?;
    cli(&["limit", "clear", "--vm", "web"])?;
    let metrics = host.agent.scrape()?;
    let dropped = metrics.sum("guestreq_log_lines_dropped_total", &[]);
    ensure!(dropped == 0.0, "{dropped} of a few lines were dropped");
    // Once it is read, it is complete.
    let log = read(reader);
    requests_continue(5)?;
    takeover::replace_agent(&mut host.agent, SIGTERM)?;
    let log = log.join().map_err(|_| anyhow!("the log's reader has panicked"))??;
    for line in ["took over lsm/file_ioctl", "metrics on http://", "stopping: "] {
        ensure!(log.contains(line), "{line:?} is missing: {log}");
    }

    // And SIGTERM does not wait for a reader.
    let (_unread, writer) = io::pipe().context("a pipe")?;
    let writer = fill(File::from(OwnedFd::from(writer)))?;
    takeover::end_by_signal(&host.agent, SIGTERM)?;
    let mut command = Command::new("/bin/guestreq");
    command.args(["agent", "--config", takeover::CONFIG]);
    host.agent = Agent::spawn_to(&mut command, Stdio::from(writer))?.wait_until_ready()?;
    takeover::replace_agent(&mut host.agent, SIGTERM).context("with a log that is full")
}

/// Fills a pipe, as if its reader had stopped reading.
pub fn fill(mut pipe: File) -> Result<File> {
    let nonblocking = |on: bool| {
        // SAFETY: no memory is passed.
        let ret = unsafe {
            libc::fcntl(pipe.as_raw_fd(), libc::F_SETFL, if on { libc::O_NONBLOCK } else { 0 })
        };
        ensure!(ret == 0, "fcntl: {}", io::Error::last_os_error());
        Ok(())
    };
    nonblocking(true)?;
    while (&pipe).write(&[b'-'; 4096]).is_ok() {}
    nonblocking(false)?;
    pipe.flush()?;
    Ok(pipe)
}

pub fn read(mut reader: PipeReader) -> thread::JoinHandle<Result<String>> {
    thread::spawn(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).context("the log")?;
        Ok(log)
    })
}
