//! # A listener with a bounded number of connections
//!
//! Clients that open many connections or do not read answers exhaust neither descriptors nor other
//! clients' slots: if all slots are taken, a new connection evicts the one idle for longest. Root
//! has slots of its own.

mod connection;
mod room;
mod slots;

use std::{
    io,
    time::{Duration, Instant},
};

use axum::serve::Listener;
use connection::TrackedConnection;
use log::warn;
use room::Room;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

/// Pause after the kernel has refused a connection.
const PAUSE: Duration = Duration::from_secs(1);
/// Minimum time between repeated warnings.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Bytes that a client other than root may send before an answer: a request without a body.
const MOST_UNANSWERED: usize = 64 << 10;

/// A source of connections.
pub trait Source: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// For log messages.
    fn name(&self) -> String;

    /// Whether [`Source::is_root`] is implemented.
    const KNOWS_ROOT: bool = false;

    /// Whether the client is root, from the socket's credentials.
    fn is_root(_: &Self::Stream) -> bool {
        false
    }
}

impl Source for TcpListener {
    type Stream = TcpStream;

    async fn next(&mut self) -> io::Result<TcpStream> {
        Ok(TcpListener::accept(self).await?.0)
    }

    fn name(&self) -> String {
        self.local_addr().map_or_else(|_| "the metrics' port".to_owned(), |at| at.to_string())
    }
}

pub struct LimitedListener<S: Source> {
    source: S,
    /// For other users, and for root.
    rooms: [Room<S::Stream>; 2],
    /// How long an answer may wait for its reader.
    timeout: Option<Duration>,
    full_warning: Throttled,
    refused_warning: Throttled,
}

/// When a warning was last logged.
#[derive(Default)]
struct Throttled(Option<Instant>);

impl Throttled {
    /// Whether to log it now: clients must not be able to fill the log.
    fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= LOG_INTERVAL);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

impl<S: Source> LimitedListener<S> {
    /// `most`: maximum number of connections, for others and for root each.
    pub fn new(source: S, most: usize, timeout: Option<Duration>) -> LimitedListener<S> {
        let (full_warning, refused_warning) = Default::default();
        let rooms = [most, most].map(Room::new);
        LimitedListener { source, rooms, timeout, full_warning, refused_warning }
    }

    /// The next waiting connection for which there is a slot, root's first.
    fn next_with_slot(&mut self) -> Option<TrackedConnection<S::Stream>> {
        let (root, (stream, slot, full)) =
            [1, 0].into_iter().find_map(|of| Some((of == 1, self.rooms[of].pop()?)))?;
        if full && self.full_warning.is_due() {
            let (name, most) = (self.source.name(), self.rooms[0].slots.most());
            warn!("{name}: all {most} connections in use: closing the idlest ones");
        }
        let limit = (!root).then_some(MOST_UNANSWERED);
        Some(TrackedConnection::new(stream, slot, self.timeout, limit))
    }

    async fn refused(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            // The client has disconnected already.
            return;
        }
        if self.refused_warning.is_due() {
            let advice = match error.raw_os_error() {
                Some(libc::EMFILE) => ": raise its limit (LimitNOFILE= of the unit, `ulimit -n`)",
                _ => "",
            };
            let name = self.source.name();
            warn!("{name}: cannot accept connections: {error}{advice}; retrying each second");
        }
        // Closing one may free what is missing.
        if !self.rooms[0].slots.evict() {
            self.rooms[1].slots.evict();
        }
        sleep(PAUSE).await;
    }
}

impl<S: Source> Listener for LimitedListener<S> {
    type Io = TrackedConnection<S::Stream>;
    type Addr = ();

    async fn accept(&mut self) -> (TrackedConnection<S::Stream>, ()) {
        loop {
            if let Some(connection) = self.next_with_slot() {
                return (connection, ());
            }
            let next = if !self.rooms.iter().any(Room::has_waiting) {
                self.source.next().await
            } else if S::KNOWS_ROOT && !self.rooms[1].is_full() {
                // A slot may become free soon; root does not wait for it.
                let next = timeout(slots::GRACE / 4, self.source.next()).await;
                let Ok(next) = next else { continue };
                next
            } else {
                // New connections stay in the kernel's backlog.
                sleep(slots::GRACE / 4).await;
                continue;
            };
            match next {
                Ok(stream) => self.rooms[usize::from(S::is_root(&stream))].push(stream),
                Err(error) => self.refused(&error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
