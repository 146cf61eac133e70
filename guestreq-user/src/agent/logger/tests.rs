use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// A pipe that nobody reads until they are told to.
struct Blocked {
    go: Receiver<()>,
    open: bool,
    written: Sender<String>,
}

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.open {
            // However long that takes.
            self.open = self.go.recv().is_ok();
        }
        let _ = self.written.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Row 6 of the second review: with the log as it was, this would never end.
#[test]
fn a_log_that_is_blocked_holds_nobody_up_and_what_is_dropped_is_told_where_it_is_missing() {
    const LINES: u64 = 100_000;
    let (unblock, go) = channel();
    let (written, lines) = channel();
    let queue = Queue::start(Blocked { go, open: false, written }).unwrap();
    for n in 0..LINES {
        queue.put(format!("line {n}\n").into_bytes());
    }
    let bytes = queue.inner().bytes;
    let dropped = queue.inner().dropped;
    assert!(bytes <= MOST_BYTES, "{bytes} bytes wait");
    assert!(dropped > 0 && dropped < LINES, "{dropped}");
    queue.flush(Duration::ZERO);
    unblock.send(()).unwrap();
    // As long as it takes.
    queue.flush(Duration::from_secs(600));
    queue.put(b"after\n".to_vec());
    queue.flush(Duration::from_secs(600));
    let all: Vec<String> = lines.try_iter().collect();
    let [told @ .., notice, after] = all.as_slice() else { panic!("{} lines", all.len()) };
    assert_eq!(told.len() as u64, LINES - dropped);
    assert!(told.iter().zip(0..).all(|(line, n)| *line == format!("line {n}\n")), "in their order");
    assert!(
        notice.ends_with(&format!("{dropped} lines of this log were dropped: nobody took them\n"))
    );
    assert_eq!((after.as_str(), queue.inner().dropped), ("after\n", dropped), "it goes on");
}

/// One that cannot be written to at all.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_that_nobody_can_read_any_more_are_counted() {
    let queue = Queue::start(Gone).unwrap();
    queue.put(b"a\n".to_vec());
    queue.put(b"b\n".to_vec());
    queue.flush(Duration::from_secs(600));
    assert_eq!(queue.inner().dropped, 2);
}
