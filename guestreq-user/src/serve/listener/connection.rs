//! # A connection that has a slot

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::slots::Slot;

pub struct TrackedConnection<S> {
    stream: S,
    slot: Slot,
    timeout: Option<Duration>,
    /// How much it may still say before it is answered.
    may_say: Option<usize>,
    most: Option<usize>,
    /// Since an answer first had to wait for its reader, until all of it is gone.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<S> TrackedConnection<S> {
    /// `most`: how much it may say before it is answered.
    pub fn new(
        stream: S,
        slot: Slot,
        timeout: Option<Duration>,
        most: Option<usize>,
    ) -> TrackedConnection<S> {
        TrackedConnection { stream, slot, timeout, may_say: most, most, waits: None }
    }

    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// An error, once it was sent away.
    fn stays(&self, cx: &Context<'_>) -> io::Result<()> {
        // In this order: who is sent away in between is woken.
        self.slot.wake(cx.waker());
        if self.slot.is_kept() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, "another one has its slot"))
    }

    fn has_written(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.slot.seen(true);
            self.may_say = self.most;
            return written;
        }
        let Some(timeout) = self.timeout else { return Poll::Pending };
        ready!(self.waits.get_or_insert_with(|| Box::pin(sleep(timeout))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TrackedConnection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stays(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.slot.seen(false);
            let said = buffer.filled().len() - before;
            match &mut self.may_say {
                Some(left) if *left < said => {
                    let why = io::Error::new(io::ErrorKind::InvalidData, "that is too long");
                    return Poll::Ready(Err(why));
                }
                Some(left) => *left -= said,
                None => {}
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TrackedConnection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stays(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.has_written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stays(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.has_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked for once everything was written.
        self.waits = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
