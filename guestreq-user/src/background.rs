//! # Work that may block
//!
//! On a disk or another process. A separate thread does it, so that the agent's loop keeps running.

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

/// Enough to read or write a few files.
const STACK: usize = 256 << 10;

type Job = Box<dyn FnOnce() + Send>;

/// Wakes the agent's loop on behalf of a thread without the process' descriptors: waking writes to
/// one of them, so a thread that has them does it.
#[derive(Clone)]
pub struct LoopWaker(Sender<Job>);

impl LoopWaker {
    /// One thread serves all.
    fn get() -> io::Result<LoopWaker> {
        static WAKER: Mutex<Option<LoopWaker>> = Mutex::new(None);
        let mut waker = WAKER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = &*waker {
            return Ok(waker.clone());
        }
        let (send, jobs) = mpsc::channel::<Job>();
        thread::Builder::new().name("wake".to_owned()).stack_size(STACK).spawn(move || {
            for job in jobs {
                // A panic is logged, and must not stop other jobs.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        })?;
        Ok(waker.insert(LoopWaker(send)).clone())
    }

    /// Runs a job in the thread that has the process' descriptors.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        // That thread ends with the process.
        let _ = self.0.send(Box::new(job));
    }
}

/// Starts a thread, which must wake the loop only through the waker.
pub fn start(name: &str, work: impl FnOnce(LoopWaker) + Send + 'static) -> io::Result<()> {
    let waker = LoopWaker::get()?;
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    thread.spawn(|| {
        close_files();
        work(waker);
    })?;
    Ok(())
}

/// Runs work in a thread and awaits its result.
pub async fn run<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    start(name, |waker| {
        let result = catch_unwind(AssertUnwindSafe(work));
        // Dropping the sender wakes the loop, too.
        waker.run(|| match result {
            Ok(result) => drop(sender.send(result)),
            Err(_) => drop(sender),
        });
    })?;
    receiver.await.map_err(|_| io::Error::other("the thread panicked"))
}

/// Closes the process' descriptors in this thread. If it is stuck in the kernel when the agent
/// ends, they would stay open, lock and ports included, and no other agent could start.
fn close_files() {
    // SAFETY: no memory is passed. This thread gets an empty descriptor table of its own and uses
    // only what it opens itself. If the call fails, it shares the process' table as before.
    unsafe { libc::close_range(0, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE as _) };
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::{runtime::Builder, sync::Notify};

    use super::*;

    /// Only reached if the loop is not woken.
    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    /// Long enough for the loop to go to sleep.
    fn work() {
        thread::sleep(Duration::from_millis(100));
    }

    /// Runs a loop without timers, which would wake it as well.
    fn in_time<T: Send + 'static>(what: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_io().build().unwrap();
            sender.send(runtime.block_on(what))
        });
        receiver.recv_timeout(TEST_TIMEOUT).expect("the loop was not woken")
    }

    #[test]
    fn a_sleeping_loop_is_woken_by_work_and_by_its_panic() {
        in_time(run("work", work)).unwrap();
        let panicked = in_time(run("work", || {
            work();
            panic!("expected");
        }));
        assert!(panicked.is_err());
    }

    #[test]
    fn a_sleeping_loop_is_woken_through_the_waker() {
        let wake = Arc::new(Notify::new());
        let notify = Arc::clone(&wake);
        in_time(async move {
            start("work", |waker| {
                work();
                waker.run(move || notify.notify_one());
            })
            .unwrap();
            wake.notified().await;
        });
    }
}
