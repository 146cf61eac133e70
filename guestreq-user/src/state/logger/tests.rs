use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// A pipe that nobody reads at first.
struct Blocked {
    go: Receiver<()>,
    open: bool,
    written: Sender<String>,
}

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.open {
            self.open = self.go.recv().is_ok();
        }
        let _ = self.written.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Row 6 of the second review: a log without a queue would block for ever.
#[test]
fn a_blocked_log_blocks_no_writer_and_dropped_lines_are_reported_in_their_place() {
    const LINES: u64 = 100_000;
    let (unblock, go) = channel();
    let (written, lines) = channel();
    let queue = Queue::start(Blocked { go, open: false, written }).unwrap();
    for n in 0..LINES {
        queue.put(format!("line {n}\n").into_bytes());
    }
    let bytes = queue.inner().bytes;
    let dropped = queue.inner().dropped;
    assert!(bytes <= MAX_BYTES, "{bytes} bytes queued");
    assert!(dropped > 0 && dropped < LINES, "{dropped}");
    queue.flush(Duration::ZERO);
    unblock.send(()).unwrap();
    queue.flush(Duration::from_secs(600));
    queue.put(b"after\n".to_vec());
    queue.flush(Duration::from_secs(600));
    let all: Vec<String> = lines.try_iter().collect();
    let [written @ .., notice, after] = all.as_slice() else { panic!("{} lines", all.len()) };
    assert_eq!(written.len() as u64, LINES - dropped);
    assert!(written.iter().zip(0..).all(|(line, n)| *line == format!("line {n}\n")), "in order");
    assert!(
        notice.ends_with(&format!("dropped {dropped} log lines: standard error was blocked\n"))
    );
    assert_eq!((after.as_str(), queue.inner().dropped), ("after\n", dropped), "it recovers");
}

struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_that_cannot_be_written_count_as_dropped() {
    let queue = Queue::start(Broken).unwrap();
    queue.put(b"a\n".to_vec());
    queue.put(b"b\n".to_vec());
    queue.flush(Duration::from_secs(600));
    assert_eq!(queue.inner().dropped, 2);
}
