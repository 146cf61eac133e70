//! # Work that may wait
//!
//! For a disk, or for another process: for as long as that likes. It is done by a thread of its own,
//! and the agent's loop goes round meanwhile.

use std::{io, thread};

use tokio::sync::oneshot;

/// None that reads or writes a few files needs more.
const STACK: usize = 256 << 10;

/// Has a thread do it.
pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    thread.spawn(|| {
        hold_no_files();
        work();
    })?;
    Ok(())
}

/// The same, and waits for what comes of it without holding anybody up.
pub async fn done<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    start(name, || drop(tell.send(work())))?;
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
