//! # `guestreq top` for the agent in the guest
//!
//! In the guest the demo forwards a TCP port to the agent's unix socket; QEMU forwards a local port
//! to that one, and here it becomes a unix socket again.

use std::fs::{self, DirBuilder};
use std::io::{self, IsTerminal as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::project;
use crate::rig::boot::{Event, Running};

/// The guest's port that leads to the agent's socket.
pub const PORT: u16 = 9941;
/// The guest's message once its agent is ready.
pub const READY: &str = "the agent is attached";
/// How often to check whether top has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Whether standard input and output are a terminal.
pub fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Shows top until it is quit or this time is reached.
pub fn run(guest: &mut Running, port: u16, until: Option<Instant>) -> Result<()> {
    loop {
        match guest.next(until)? {
            Event::Line(line) if line.contains(READY) => break,
            Event::Line(line) => println!("{line}"),
            Event::PoweredOff => bail!("the guest ended by itself"),
            Event::Deadline => bail!("the agent was not attached in time"),
        }
    }
    let bridge = Bridge::start(port)?;
    let mut top = Command::new(project::static_binary("guestreq"))
        .args(["top", "--socket"])
        .arg(bridge.socket())
        .spawn()
        .context("guestreq top")?;
    let status = loop {
        if let Some(status) = top.try_wait()? {
            break status;
        }
        // The guest's console would disturb top's screen.
        match guest.next(Some(Instant::now() + POLL_INTERVAL))? {
            Event::PoweredOff => {
                end(&mut top)?;
                bail!("the guest ended by itself");
            }
            _ if until.is_some_and(|until| Instant::now() >= until) => return end(&mut top),
            _ => {}
        }
    };
    ensure!(status.success(), "guestreq top has failed ({status})");
    Ok(())
}

/// By a signal on which it restores the terminal.
fn end(top: &mut Child) -> Result<()> {
    let kill = Command::new("sh").args(["-c", "kill \"$0\"", &top.id().to_string()]).status()?;
    ensure!(kill.success(), "guestreq top cannot be ended ({kill})");
    top.wait()?;
    Ok(())
}

/// A unix socket that forwards to a TCP port, in its own folder; removed when dropped.
struct Bridge(PathBuf);

impl Bridge {
    fn start(port: u16) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("guestreq-demo-{}", std::process::id()));
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let bridge = Self(folder);
        let listener = UnixListener::bind(bridge.socket()).context("the bridge's socket")?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || pass_on(&stream, port));
            }
        });
        Ok(bridge)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies both ways until either side closes.
fn pass_on(top: &UnixStream, port: u16) -> io::Result<()> {
    let agent = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &*top, &mut &agent);
            agent.shutdown(Shutdown::Both)
        });
        let _ = io::copy(&mut &agent, &mut &*top);
        top.shutdown(Shutdown::Both)
    })
}
