//! # The client of a connection

use axum::{extract::connect_info::Connected, serve::IncomingStream};

use super::{listener::LimitedListener, socket::Socket};

/// The client, from the socket's credentials.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub uid: Option<u32>,
}

impl Connected<IncomingStream<'_, LimitedListener<Socket>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, LimitedListener<Socket>>) -> Peer {
        Peer { uid: stream.io().stream().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

impl Peer {
    /// The uid, if it may make changes.
    pub fn root(self) -> Result<u32, String> {
        match self.uid {
            Some(0) => Ok(0),
            Some(uid) => Err(format!("uid {uid} may not change anything: use `sudo`")),
            None => Err("unknown client: nothing is changed".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_may_make_changes() {
        assert_eq!(Peer { uid: Some(0) }.root(), Ok(0));
        let error = Peer { uid: Some(1000) }.root().unwrap_err();
        assert_eq!(error, "uid 1000 may not change anything: use `sudo`");
        assert!(Peer { uid: None }.root().is_err());
    }
}
