//! # Who comes in, and how many
//!
//! A listener with a bounded number of connections: whoever opens a thousand of them, or never
//! reads an answer, takes neither the agent's descriptors nor anybody's place. If all places are
//! taken, who has been silent the longest leaves for who comes.

mod guest;
mod places;

use std::{
    io,
    time::{Duration, Instant},
};

use axum::serve::Listener;
use guest::Guest;
use log::warn;
use places::Places;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// After the kernel has refused a connection; it would refuse the next one, too.
const PAUSE: Duration = Duration::from_secs(1);
/// What goes wrong again and again is told once in so long.
const TELL: Duration = Duration::from_secs(60);

/// What connections come from.
pub trait Source: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// As it is told.
    fn name(&self) -> String;
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

pub struct Door<S> {
    source: S,
    places: Places,
    /// For so long an answer may wait for its reader.
    patience: Option<Duration>,
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

impl<S: Source> Door<S> {
    /// With room for so many at a time.
    pub fn new(source: S, most: usize, patience: Option<Duration>) -> Door<S> {
        let (told_full, told_refused) = Default::default();
        Door { source, places: Places::new(most), patience, told_full, told_refused }
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
        self.places.make_room();
        sleep(PAUSE).await;
    }
}

impl<S: Source> Listener for Door<S> {
    type Io = Guest<S::Stream>;
    type Addr = ();

    async fn accept(&mut self) -> (Guest<S::Stream>, ()) {
        loop {
            let stream = match self.source.next().await {
                Ok(stream) => stream,
                Err(error) => {
                    self.refused(&error).await;
                    continue;
                }
            };
            while self.places.are_taken() {
                if self.places.make_room() {
                    if self.told_full.is_due() {
                        let (name, most) = (self.source.name(), self.places.most());
                        warn!(
                            "{name}: {most} connections are open: the most silent ones are closed"
                        );
                    }
                } else {
                    // All of them have just come, or read.
                    sleep(places::GRACE / 4).await;
                }
            }
            return (Guest::new(stream, self.places.take(), self.patience), ());
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
