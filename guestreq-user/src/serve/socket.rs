//! # The command line's socket
//!
//! Somebody may remove its file, with a folder that is cleaned up, say: nobody could ask the
//! agent any more. So it is looked after, and made anew.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};
use log::warn;
use tokio::{
    net::{UnixListener, UnixStream},
    time::{Instant, sleep_until},
};

use crate::{group, serve::listener::Source};

const LOOK: Duration = Duration::from_secs(1);

pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    group: Option<u32>,
    /// Device and inode of its file.
    file: Option<(u64, u64)>,
    /// Why it could not be made anew.
    trouble: Option<String>,
    /// When its file is looked at next.
    look_at: Instant,
}

impl Socket {
    /// A socket whose agent is gone is replaced, one that answers is not.
    pub async fn bind(path: &Path, group: Option<u32>) -> Result<Socket> {
        if let Some(folder) = path.parent() {
            group::make_folder(folder)?;
        }
        if path.exists() {
            if UnixStream::connect(path).await.is_ok() {
                bail!("another agent is running");
            }
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        group::admit(path, group)?;
        let file = identity(path);
        let look_at = Instant::now() + LOOK;
        Ok(Socket { listener, path: path.to_owned(), group, file, trouble: None, look_at })
    }

    /// Makes it anew if its file is gone, or another one.
    async fn look_after(&mut self) {
        let found = identity(&self.path);
        if found == self.file {
            return;
        }
        let (path, group) = (self.path.clone(), self.group);
        match Socket::bind(&path, group).await {
            Ok(new) => {
                let what = if found.is_none() { "removed" } else { "replaced" };
                warn!("{}: it was {what}: made anew", path.display());
                *self = new;
            }
            Err(error) => {
                let why = format!("{error:#}");
                if self.trouble.as_ref() != Some(&why) {
                    warn!("{}: it is gone, and cannot be made anew: {why}", path.display());
                }
                self.trouble = Some(why);
            }
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

impl Source for Socket {
    type Stream = UnixStream;

    const TELLS_ROOT: bool = true;

    fn is_root(stream: &UnixStream) -> bool {
        stream.peer_cred().is_ok_and(|peer| peer.uid() == 0)
    }

    async fn next(&mut self) -> io::Result<UnixStream> {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => return Ok(accepted?.0),
                () = sleep_until(self.look_at) => {}
            }
            // Before it is looked: whoever waits for this may give up meanwhile.
            self.look_at = Instant::now() + LOOK;
            self.look_after().await;
        }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}
