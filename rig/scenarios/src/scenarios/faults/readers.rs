//! # Members of the reading group
//!
//! They may open the socket but change nothing. They once made the agent hold a GiB of bodies that
//! it would refuse, and took all followers' slots.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::{fs::chown, net::UnixStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{FaultyHost, STEP_TIMEOUT, web_is_running};
use crate::{agent::cli, scenarios::counting::anonymous_kib};

pub const SOCKET: &str = "/run/guestreq/agent.sock";
const NOBODY: libc::uid_t = 65_534;
pub const GROUP: libc::gid_t = 990;
/// As many as there are connections.
const MEMBERS: usize = 128;
pub const BODY: usize = 8 << 20;
/// Far below the 1 GiB that bodies once took, and above what connections may take.
const MOST: u64 = 32 << 20;

pub fn full_group(host: &mut FaultyHost) -> Result<()> {
    let pid = host.agent.pid();
    chown(SOCKET, None, Some(GROUP)).context(SOCKET)?;
    let before = anonymous_bytes(pid)?;
    let mut members = connect()?;
    let head = format!("PUT /v1/policy HTTP/1.1\r\nHost: rig\r\nContent-Length: {BODY}\r\n\r\n");
    let sent = members.iter_mut().map(|member| send(member, head.as_bytes(), BODY)).sum::<usize>();
    let of_bodies = anonymous_bytes(pid)?;
    println!("{} KiB of bodies were taken, the agent {} KiB", sent >> 10, of_bodies >> 10);
    ensure!(of_bodies < before + MOST, "{before} bytes before, {of_bodies} with bodies");
    // They get the reason before they have sent everything.
    let answer = first_part(&mut members[0])?;
    ensure!(answer.starts_with("HTTP/1.1 403") && answer.contains("use `sudo`"), "{answer}");
    drop(members);

    let mut members = connect()?;
    let head = "GET /v1/vms HTTP/1.1\r\nHost: rig\r\nX-Long: ";
    members.iter_mut().for_each(|member| {
        send(member, head.as_bytes(), BODY);
    });
    let of_heads = anonymous_bytes(pid)?;
    ensure!(of_heads < before + MOST, "{before} bytes before, {of_heads} with heads");
    drop(members);

    let mut followers = connect()?;
    let follow = b"GET /v1/events?follow=true&last=0 HTTP/1.1\r\nHost: rig\r\n\r\n";
    let mut refused = 0;
    for follower in &mut followers[..40] {
        follower.set_nonblocking(false)?;
        follower.write_all(follow)?;
        refused += usize::from(first_part(follower)?.starts_with("HTTP/1.1 503"));
    }
    ensure!(refused == 8, "{refused} of 40 were refused");
    let mut root = UnixStream::connect(SOCKET).context(SOCKET)?;
    root.write_all(follow)?;
    let answer = first_part(&mut root)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "root is kept out: {answer}");
    web_is_running().context("with many connections")?;
    cli(&["limit", "set", "--vm", "web", "--rate", "1000/s", "--burst", "1000"])?;
    cli(&["limit", "clear", "--vm", "web"])?;
    chown(SOCKET, None, Some(0)).context(SOCKET)
}

/// Connections of a member of the group.
pub fn connect() -> Result<Vec<UnixStream>> {
    let member = || -> Result<Vec<UnixStream>> {
        // For this thread only: libc's functions change all threads.
        // SAFETY: no memory is passed but the number of groups, of which there are none.
        let done = unsafe {
            libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) == 0
                && libc::syscall(libc::SYS_setresgid, GROUP, GROUP, GROUP) == 0
                && libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) == 0
        };
        ensure!(done, "nobody: {}", io::Error::last_os_error());
        (0..MEMBERS)
            .map(|_| {
                let stream = UnixStream::connect(SOCKET).context(SOCKET)?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            })
            .collect()
    };
    thread::spawn(member).join().map_err(|_| anyhow!("the connecting thread has panicked"))?
}

/// Sends until nothing more is accepted, and returns how much was.
pub fn send(member: &mut UnixStream, head: &[u8], most: usize) -> usize {
    let filler = vec![b'x'; 64 << 10];
    if member.write_all(head).is_err() {
        return 0;
    }
    let (mut sent, mut waits) = (0, 0);
    while sent < most && waits < 10 {
        match member.write(&filler) {
            Ok(written) => (sent, waits) = (sent + written, 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                waits += 1;
                thread::sleep(Duration::from_millis(5));
            }
            // Closed, which is an answer, too.
            Err(_) => break,
        }
    }
    sent
}

/// The first part of an answer.
pub fn first_part(stream: &mut UnixStream) -> Result<String> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(STEP_TIMEOUT))?;
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).context("no answer")?;
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

fn anonymous_bytes(pid: u32) -> Result<u64> {
    Ok(anonymous_kib(pid)? << 10)
}
