//! # Clients
//!
//! Members of the reading group take all connections they get, again and again: with bodies,
//! endless heads, as followers, and a byte at a time. Others hold connections to /metrics that send
//! nothing or never read.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::Shared;
use crate::scenarios::faults::{clients, readers};

/// More than there are connections.
const SILENT: usize = 70;
/// What a member sends of a body or head; more would overload the emulator.
const SENT: usize = 256 << 10;

#[derive(Default)]
pub struct ClientTotals {
    connections: usize,
    refused: usize,
    followers: usize,
}

impl fmt::Display for ClientTotals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClientTotals { connections, refused, followers } = self;
        write!(f, "{connections} connections, {refused} refused, {followers} followed")
    }
}

pub fn run(shared: &Shared) -> Result<ClientTotals> {
    let mut pressed = ClientTotals::default();
    while !shared.is_over() {
        let tcp: Vec<TcpStream> =
            (0..SILENT).filter_map(|_| TcpStream::connect(clients::METRICS).ok()).collect();
        let unread = clients::Scraper::start();
        pressed.connections += tcp.len() + usize::from(unread.is_ok());
        for way in [bodies, heads, followers, trickle] {
            // Without an agent, wait for the next one.
            let Ok(mut members) = readers::connect() else {
                thread::sleep(Duration::from_millis(200));
                continue;
            };
            pressed.connections += members.len();
            way(&mut members, shared, &mut pressed);
            pressed.refused += members.iter_mut().filter_map(is_refused).count();
        }
    }
    ensure!(pressed.refused > 0 && pressed.followers > 0, "too few clients: {pressed}");
    Ok(pressed)
}

fn bodies(members: &mut [UnixStream], _: &Shared, _: &mut ClientTotals) {
    let length = readers::BODY;
    let head = format!("PUT /v1/policy HTTP/1.1\r\nHost: rig\r\nContent-Length: {length}\r\n\r\n");
    for member in members {
        readers::send(member, head.as_bytes(), SENT);
    }
}

fn heads(members: &mut [UnixStream], _: &Shared, _: &mut ClientTotals) {
    for member in members {
        readers::send(member, b"GET /v1/vms HTTP/1.1\r\nHost: rig\r\nX-Long: ", SENT);
    }
}

/// More than may follow.
const FOLLOWERS: usize = 40;
/// How long all of them together wait for their first answers.
const FOLLOWERS_WAIT: Duration = Duration::from_secs(5);

fn followers(members: &mut [UnixStream], shared: &Shared, pressed: &mut ClientTotals) {
    const FOLLOW: &[u8] = b"GET /v1/events?follow=true&last=0 HTTP/1.1\r\nHost: rig\r\n\r\n";
    let members = &mut members[..FOLLOWERS];
    for member in members.iter_mut() {
        let _ = member.write(FOLLOW);
    }
    // Between two agents none gets an answer.
    let until = Instant::now() + FOLLOWERS_WAIT;
    for member in members {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let waits =
            member.set_nonblocking(false).is_ok() && member.set_read_timeout(Some(left)).is_ok();
        let mut answer = [0; 12];
        if !shared.is_over() && waits && member.read(&mut answer).is_ok() {
            let follows = answer == *b"HTTP/1.1 200";
            pressed.followers += usize::from(follows);
            shared.is_followed.fetch_or(follows, Ordering::Relaxed);
            pressed.refused += usize::from(answer == *b"HTTP/1.1 503");
        }
        let _ = member.set_nonblocking(true);
    }
    rest(shared);
}

/// A client that keeps sending a little is never silent.
fn trickle(members: &mut [UnixStream], shared: &Shared, _: &mut ClientTotals) {
    for byte in b"GET /v1/vms HTTP/1.1\r\nHost: r" {
        if shared.is_over() {
            return;
        }
        for member in members.iter_mut() {
            let _ = member.write(&[*byte]);
        }
        thread::sleep(Duration::from_millis(80));
    }
}

fn rest(shared: &Shared) {
    for _ in 0..10 {
        if !shared.is_over() {
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Whether it was closed or refused.
fn is_refused(member: &mut UnixStream) -> Option<()> {
    let mut answer = [0; 12];
    match member.read(&mut answer) {
        Ok(0) => Some(()),
        Ok(_) => (answer == *b"HTTP/1.1 403" || answer == *b"HTTP/1.1 503").then_some(()),
        Err(error) => (error.kind() != io::ErrorKind::WouldBlock).then_some(()),
    }
}
