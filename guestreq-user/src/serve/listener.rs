//! # Who comes in, and how many
//!
//! A listener with a bounded number of connections: whoever opens a thousand of them, or never
//! reads an answer, takes neither the agent's descriptors nor anybody's slot. If all slots are
//! taken, who has been silent the longest leaves for who comes. Root has slots of its own, and waits
//! for nobody else.

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

/// After the kernel has refused a connection; it would refuse the next one, too.
const PAUSE: Duration = Duration::from_secs(1);
/// What goes wrong again and again is told once in so long.
const TELL: Duration = Duration::from_secs(60);
/// What somebody may say before it is answered, root excepted: a request without a body.
const MOST_UNANSWERED: usize = 64 << 10;

/// What connections come from.
pub trait Source: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// As it is told.
    fn name(&self) -> String;

    /// Whether [`Source::is_root`] knows anything.
    const TELLS_ROOT: bool = false;

    /// Whether it is root who comes, as far as the kernel says.
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
    /// Everybody's, and root's.
    rooms: [Room<S::Stream>; 2],
    /// For so long an answer may wait for its reader.
    timeout: Option<Duration>,
    told_full: Seldom,
    told_refused: Seldom,
}

/// When something was told last.
#[derive(Default)]
struct Seldom(Option<Instant>);

impl Seldom {
    /// Whether to tell it now: what somebody else does at will does not fill the log.
    fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= TELL);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

impl<S: Source> LimitedListener<S> {
    /// With room for so many at a time, and for as many of root.
    pub fn new(source: S, most: usize, timeout: Option<Duration>) -> LimitedListener<S> {
        let (told_full, told_refused) = Default::default();
        let rooms = [most, most].map(Room::new);
        LimitedListener { source, rooms, timeout, told_full, told_refused }
    }

    /// Who has waited the longest and has a slot now, root first.
    fn seat(&mut self) -> Option<TrackedConnection<S::Stream>> {
        let (root, (stream, slot, full)) =
            [1, 0].into_iter().find_map(|of| Some((of == 1, self.rooms[of].seat()?)))?;
        if full && self.told_full.is_due() {
            let (name, most) = (self.source.name(), self.rooms[0].slots.most());
            warn!("{name}: {most} connections are open: the most silent ones are closed");
        }
        let may_say = (!root).then_some(MOST_UNANSWERED);
        Some(TrackedConnection::new(stream, slot, self.timeout, may_say))
    }

    async fn refused(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            // Who came has gone already.
            return;
        }
        if self.told_refused.is_due() {
            let advice = match error.raw_os_error() {
                Some(libc::EMFILE) => ": raise its limit (LimitNOFILE= of the unit, `ulimit -n`)",
                _ => "",
            };
            let name = self.source.name();
            warn!("{name}: nobody can connect: {error}{advice}; trying again each second");
        }
        // Those who are here may be what there is too much of.
        if !self.rooms[0].slots.make_room() {
            self.rooms[1].slots.make_room();
        }
        sleep(PAUSE).await;
    }
}

impl<S: Source> Listener for LimitedListener<S> {
    type Io = TrackedConnection<S::Stream>;
    type Addr = ();

    async fn accept(&mut self) -> (TrackedConnection<S::Stream>, ()) {
        loop {
            if let Some(guest) = self.seat() {
                return (guest, ());
            }
            let next = if !self.rooms.iter().any(Room::is_waited_for) {
                self.source.next().await
            } else if S::TELLS_ROOT && !self.rooms[1].is_full() {
                // A slot may be free soon; and root does not wait for it.
                let next = timeout(slots::GRACE / 4, self.source.next()).await;
                let Ok(next) = next else { continue };
                next
            } else {
                // Who comes now is the kernel's to keep.
                sleep(slots::GRACE / 4).await;
                continue;
            };
            match next {
                Ok(stream) => self.rooms[usize::from(S::is_root(&stream))].enter(stream),
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
