//! # Work that may wait
//!
//! For a disk, or for another process: for as long as that likes. It is done by a thread of its own,
//! and the agent's loop goes round meanwhile.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Sender},
    },
    thread,
};

use tokio::sync::oneshot;

/// None that reads or writes a few files needs more.
const STACK: usize = 256 << 10;

type Job = Box<dyn FnOnce() + Send>;

/// Wakes the agent's loop for a thread that holds no files. The loop is woken by a write to one of
/// the process' files, so a thread that still has them makes that write.
#[derive(Clone)]
pub struct LoopWaker(Sender<Job>);

impl LoopWaker {
    /// One thread serves all: a wake-up takes no time.
    fn get() -> io::Result<LoopWaker> {
        static WAKER: Mutex<Option<LoopWaker>> = Mutex::new(None);
        let mut waker = WAKER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = &*waker {
            return Ok(waker.clone());
        }
        let (send, jobs) = mpsc::channel::<Job>();
        thread::Builder::new().name("wake".to_owned()).stack_size(STACK).spawn(move || {
            for job in jobs {
                // A panic is in the log, and does not keep other jobs from being run.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        })?;
        Ok(waker.insert(LoopWaker(send)).clone())
    }

    /// Runs what wakes the loop in the thread that has the process' files.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        // That thread ends with the process.
        let _ = self.0.send(Box::new(job));
    }
}

/// Has a thread do it. The thread wakes the loop through the waker, never directly.
pub fn start(name: &str, work: impl FnOnce(LoopWaker) + Send + 'static) -> io::Result<()> {
    let waker = LoopWaker::get()?;
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    thread.spawn(|| {
        hold_no_files();
        work(waker);
    })?;
    Ok(())
}

/// The same, and waits for what comes of it without holding anybody up.
pub async fn done<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    start(name, |waker| {
        let done = catch_unwind(AssertUnwindSafe(work));
        // A sender that is dropped wakes the loop, too.
        waker.run(|| match done {
            Ok(done) => drop(tell.send(done)),
            Err(_) => drop(tell),
        });
    })?;
    told.await.map_err(|_| io::Error::other("it has panicked"))
}

/// Lets go of the process' files in this thread. It may be stuck where no signal ends it: then they
/// would stay open after the agent's end, its lock and its ports among them, and no other agent
/// could start.
fn hold_no_files() {
    // SAFETY: no memory is passed. From here on this thread has a table of descriptors of its own,
    // which is empty: others keep theirs, and it uses only what it opens itself. Where the call
    // fails, it shares theirs as before.
    unsafe { libc::close_range(0, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE as _) };
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::{runtime::Builder, sync::Notify};

    use super::*;

    /// Only one that is not woken sees the end of this.
    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    /// Long enough for a loop to have nothing to do, and to wait for its files.
    fn work() {
        thread::sleep(Duration::from_millis(100));
    }

    /// By a loop without timers: one would wake it, too, and it would find the answer there.
    fn in_time<T: Send + 'static>(what: impl Future<Output = T> + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_io().build().unwrap();
            tell.send(runtime.block_on(what))
        });
        told.recv_timeout(TEST_TIMEOUT).expect("nobody has woken the loop")
    }

    #[test]
    fn a_loop_that_sleeps_is_woken_by_what_was_done_without_files() {
        in_time(done("work", work)).unwrap();
        let panicked = in_time(done("work", || {
            work();
            panic!("as it is to");
        }));
        assert!(panicked.is_err());
    }

    #[test]
    fn a_loop_that_sleeps_is_woken_by_who_is_told_to() {
        let wake = Arc::new(Notify::new());
        let there = Arc::clone(&wake);
        in_time(async move {
            start("work", |waker| {
                work();
                waker.run(move || there.notify_one());
            })
            .unwrap();
            wake.notified().await;
        });
    }
}
