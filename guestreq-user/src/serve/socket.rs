//! # The command line's socket
//!
//! If its file is removed, for example by a cleaned folder, it is recreated.

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

const CHECK_INTERVAL: Duration = Duration::from_secs(1);

pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    group: Option<u32>,
    /// Device and inode of its file.
    file: Option<(u64, u64)>,
    /// Why it could not be recreated.
    trouble: Option<String>,
    next_check: Instant,
}

impl Socket {
    /// Replaces a stale socket; fails if another agent listens.
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
        let next_check = Instant::now() + CHECK_INTERVAL;
        Ok(Socket { listener, path: path.to_owned(), group, file, trouble: None, next_check })
    }

    /// Recreates its file if removed or replaced.
    async fn check_file(&mut self) {
        let found = identity(&self.path);
        if found == self.file {
            return;
        }
        let (path, group) = (self.path.clone(), self.group);
        match Socket::bind(&path, group).await {
            Ok(new) => {
                let what = if found.is_none() { "removed" } else { "replaced" };
                warn!("{}: it was {what}: recreated", path.display());
                *self = new;
            }
            Err(error) => {
                let why = format!("{error:#}");
                if self.trouble.as_ref() != Some(&why) {
                    warn!("{}: removed, and cannot be recreated: {why}", path.display());
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

    const KNOWS_ROOT: bool = true;

    fn is_root(stream: &UnixStream) -> bool {
        stream.peer_cred().is_ok_and(|peer| peer.uid() == 0)
    }

    async fn next(&mut self) -> io::Result<UnixStream> {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => return Ok(accepted?.0),
                () = sleep_until(self.next_check) => {}
            }
            // Set first: this future may be dropped during the check.
            self.next_check = Instant::now() + CHECK_INTERVAL;
            self.check_file().await;
        }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}
