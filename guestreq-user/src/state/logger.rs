//! # The agent's log
//!
//! A stuck journald or an unread pipe blocks its writers, so a separate thread writes. Its queue is
//! bounded; dropped lines are counted, and reported in their place once writing works again.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    os::fd::AsFd as _,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use log::error;

use crate::{text::in_a_line, wire::events::Time};

/// Most bytes in the queue.
const MAX_BYTES: usize = 256 << 10;
/// How long the agent waits for its last lines when it stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static LOG: OnceLock<Arc<Queue>> = OnceLock::new();

/// Starts logging to standard error, coloured on a terminal.
pub fn start() -> Result<()> {
    // Not the standard library's: a blocked writer holds its lock, which a panic would wait for.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned().context("standard error")?);
    let queue = Queue::start(stderr).context("a thread for the log")?;
    let level = env_logger::Env::default().default_filter_or("info");
    let mut builder = env_logger::Builder::from_env(level);
    if std::env::var_os("RUST_LOG_STYLE").is_none() {
        builder.write_style(anstream::AutoStream::choice(&io::stderr()).into());
    }
    let lines = Lines(Arc::clone(&queue));
    builder.format_timestamp_millis().target(env_logger::Target::Pipe(Box::new(lines))).init();
    // Called once.
    let _ = LOG.set(queue);
    // The default hook would write to standard error and block.
    std::panic::set_hook(Box::new(|panic| {
        error!("{}", in_a_line(&panic.to_string()));
        flush();
    }));
    Ok(())
}

/// Writes a line without timestamp and level.
pub fn print(line: &str) {
    if let Some(queue) = LOG.get() {
        queue.put(format!("{line}\n").into_bytes());
    }
}

/// Number of dropped lines.
pub fn dropped() -> u64 {
    LOG.get().map_or(0, |queue| queue.inner().dropped)
}

/// Waits until everything is written, at most [`FLUSH_TIMEOUT`].
pub fn flush() {
    if let Some(queue) = LOG.get() {
        queue.flush(FLUSH_TIMEOUT);
    }
}

/// Queues each log record.
struct Lines(Arc<Queue>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Queue {
    inner: Mutex<Inner>,
    /// The queue got its first line or ran empty.
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Dropped since the last report.
    unreported: u64,
    dropped: u64,
    writing: bool,
}

impl Inner {
    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.unreported == 0
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(line) = self.lines.pop_front() {
            self.bytes -= line.len();
            return Some(line);
        }
        let unreported = std::mem::take(&mut self.unreported);
        (unreported > 0).then(|| notice(unreported).into_bytes())
    }

    fn drop_one(&mut self) {
        self.unreported += 1;
        self.dropped += 1;
    }
}

impl Queue {
    fn start(out: impl Write + Send + 'static) -> io::Result<Arc<Queue>> {
        let queue = Arc::new(Queue { inner: Mutex::default(), changed: Condvar::new() });
        let ours = Arc::clone(&queue);
        thread::Builder::new().name("log".to_owned()).spawn(move || ours.write_to(out))?;
        Ok(queue)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never blocks. After one dropped line all are dropped until that is reported, so that the
    /// report stands where they are missing.
    fn put(&self, line: Vec<u8>) {
        let mut inner = self.inner();
        if inner.unreported > 0 || inner.bytes + line.len() > MAX_BYTES {
            inner.drop_one();
        } else {
            inner.bytes += line.len();
            inner.lines.push_back(line);
        }
        drop(inner);
        self.changed.notify_all();
    }

    fn write_to(&self, mut out: impl Write) {
        loop {
            let mut inner = self.inner();
            let line = loop {
                if let Some(line) = inner.next() {
                    break line;
                }
                inner.writing = false;
                self.changed.notify_all();
                inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
            };
            inner.writing = true;
            drop(inner);
            if write_all(&mut out, &line).is_err() {
                // Only the metric can report this.
                self.inner().dropped += 1;
            }
        }
    }

    fn flush(&self, timeout: Duration) {
        let end = Instant::now() + timeout;
        let mut inner = self.inner();
        while inner.writing || !inner.is_idle() {
            let Some(left) = end.checked_duration_since(Instant::now()) else { return };
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Blocks even if another process has made the file non-blocking.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn notice(count: u64) -> String {
    let now = Time::now();
    format!("[{now} WARN  guestreq] dropped {count} log lines: standard error was blocked\n")
}

#[cfg(test)]
mod tests;
