//! # A terminal, and a program that runs in it
//!
//! A pseudoterminal whose screen can be read: for the tests of `top` here, and for the
//! rig's, which include this file.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    num::NonZero,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

pub struct Screen {
    master: File,
    /// Kept open, so that the modes can be looked at when the program has gone.
    slave: OwnedFd,
    child: Child,
    parser: vt100::Parser,
    timeout: Duration,
}

/// A terminal's modes, to be compared.
#[derive(Debug, PartialEq)]
pub struct Modes {
    flags: [libc::tcflag_t; 4],
    characters: [libc::cc_t; libc::NCCS],
}

impl Screen {
    /// Starts a program in a terminal of its own; `timeout` is how long anything may take.
    pub fn start(
        command: &mut Command,
        (columns, rows): (u16, u16),
        timeout: Duration,
    ) -> Result<Screen> {
        let (mut master, mut slave) = (-1, -1);
        let size = size(columns, rows);
        let none = std::ptr::null_mut();
        // SAFETY: both descriptors and the size outlive the call; name and modes may be null.
        let ret = unsafe { libc::openpty(&mut master, &mut slave, none, none.cast(), &size) };
        ensure!(ret == 0, "openpty: {}", io::Error::last_os_error());
        // SAFETY: openpty has just opened both, and nobody else knows them.
        let (master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        for fd in [master.as_raw_fd(), slave.as_raw_fd()] {
            // SAFETY: no memory is passed.
            let ret = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
            ensure!(ret == 0, "fcntl: {}", io::Error::last_os_error());
        }
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave.try_clone()?);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        // SAFETY: between fork and exec only system calls are made.
        unsafe { command.pre_exec(own_terminal) };
        let child = command.spawn().context("the program")?;
        let parser = vt100::Parser::new(cells(rows)?, cells(columns)?, 0);
        Ok(Screen { master, slave, child, parser, timeout })
    }

    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.master.write_all(keys.as_bytes()).context("typing")
    }

    pub fn resize(&mut self, columns: u16, rows: u16) -> Result<()> {
        let size = size(columns, rows);
        // SAFETY: TIOCSWINSZ reads a winsize.
        let ret = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        ensure!(ret == 0, "TIOCSWINSZ: {}", io::Error::last_os_error());
        self.parser.screen_mut().set_size(cells(rows)?, cells(columns)?);
        Ok(())
    }

    /// What has been written so far, and whatever is within the time, is on the screen then.
    fn read_for(&mut self, time: Duration) -> Result<()> {
        let mut poll =
            libc::pollfd { fd: self.master.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let mut bytes = [0; 65536];
        let mut time = time;
        loop {
            // SAFETY: one pollfd, as said.
            let ready = unsafe { libc::poll(&mut poll, 1, time.as_millis() as i32) };
            if ready <= 0 || poll.revents & libc::POLLIN == 0 {
                return Ok(());
            }
            let read = self.master.read(&mut bytes).context("the screen")?;
            self.parser.process(&bytes[..read]);
            time = Duration::ZERO;
        }
    }

    /// The screen's lines.
    pub fn text(&self) -> String {
        self.parser.screen().contents()
    }

    /// Waits until the screen is as it should be.
    pub fn wait_until(&mut self, what: &str, so: impl Fn(&str) -> bool) -> Result<String> {
        let start = Instant::now();
        loop {
            self.read_for(Duration::from_millis(20))?;
            let text = self.text();
            if so(&text) {
                return Ok(text);
            }
            if start.elapsed() > self.timeout {
                bail!("not within {:?}: {what}; the screen:\n{text}", self.timeout);
            }
        }
    }

    /// Waits until some words are on the screen.
    pub fn wait_for(&mut self, words: &str) -> Result<String> {
        self.wait_until(words, |text| text.contains(words))
    }

    pub fn is_alternate(&self) -> bool {
        self.parser.screen().alternate_screen()
    }

    pub fn is_cursor_hidden(&self) -> bool {
        self.parser.screen().hide_cursor()
    }

    pub fn modes(&self) -> Result<Modes> {
        // SAFETY: termios consists of integers, for which all zeros is a value.
        let mut modes: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: tcgetattr writes a termios.
        let ret = unsafe { libc::tcgetattr(self.slave.as_raw_fd(), &mut modes) };
        ensure!(ret == 0, "tcgetattr: {}", io::Error::last_os_error());
        let flags = [modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag];
        Ok(Modes { flags, characters: modes.c_cc })
    }

    pub fn signal(&self, signal: i32) -> Result<()> {
        // SAFETY: no memory is passed.
        let ret = unsafe { libc::kill(self.child.id() as i32, signal) };
        ensure!(ret == 0, "kill: {}", io::Error::last_os_error());
        Ok(())
    }

    /// Whether it is stopped, as by Ctrl-Z.
    pub fn is_stopped(&self) -> Result<bool> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        Ok(stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")))
    }

    /// Waits for the program's end; then everything that it wrote is on the screen.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            self.read_for(Duration::from_millis(20))?;
            if let Some(status) = self.child.try_wait().context("the program")? {
                self.read_for(Duration::ZERO)?;
                return Ok(status);
            }
            if start.elapsed() > self.timeout {
                bail!("it does not end; the screen:\n{}", self.text());
            }
        }
    }

    /// Hangs up, as a lost connection does, and waits for the program's end.
    pub fn hang_up(self) -> Result<ExitStatus> {
        let Screen { master, slave, mut child, timeout, .. } = self;
        drop((master, slave));
        let start = Instant::now();
        while start.elapsed() < timeout {
            if let Some(status) = child.try_wait().context("the program")? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        bail!("it keeps running without a terminal")
    }
}

fn cells(number: u16) -> Result<NonZero<u16>> {
    NonZero::new(number).context("a terminal without a cell")
}

fn size(columns: u16, rows: u16) -> libc::winsize {
    libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Makes standard input the process' own terminal, as a login does.
fn own_terminal() -> io::Result<()> {
    // SAFETY: no memory is passed.
    let ret = unsafe { libc::setsid() };
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: TIOCSCTTY takes a number.
    match unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
