//! # A connection with a slot

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
    /// Bytes that it may still send before an answer.
    left: Option<usize>,
    most: Option<usize>,
    /// Runs while an answer waits for its reader.
    write_timeout: Option<Pin<Box<Sleep>>>,
}

impl<S> TrackedConnection<S> {
    /// `most`: bytes that it may send before an answer.
    pub fn new(
        stream: S,
        slot: Slot,
        timeout: Option<Duration>,
        most: Option<usize>,
    ) -> TrackedConnection<S> {
        TrackedConnection { stream, slot, timeout, left: most, most, write_timeout: None }
    }

    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// An error once it was evicted.
    fn check_slot(&self, cx: &Context<'_>) -> io::Result<()> {
        // In this order: an eviction in between wakes.
        self.slot.wake(cx.waker());
        if self.slot.is_kept() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, "evicted"))
    }

    fn on_written(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.slot.seen(true);
            self.left = self.most;
            return written;
        }
        let Some(timeout) = self.timeout else { return Poll::Pending };
        ready!(
            self.write_timeout.get_or_insert_with(|| Box::pin(sleep(timeout))).as_mut().poll(cx)
        );
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TrackedConnection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_slot(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.slot.seen(false);
            let sent = buffer.filled().len() - before;
            match &mut self.left {
                Some(left) if *left < sent => {
                    let why = io::Error::new(io::ErrorKind::InvalidData, "request too long");
                    return Poll::Ready(Err(why));
                }
                Some(left) => *left -= sent,
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
        self.check_slot(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.on_written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_slot(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.on_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Called once everything was written.
        self.write_timeout = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
