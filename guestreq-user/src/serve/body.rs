//! # What a change says
//!
//! Whether it is read at all is decided by the request's head: by who sends it and how long it is.
//! Of those that are read, few are at a time; and who begins one and does not go on, ends it.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::{Bytes, to_bytes},
    extract::{ConnectInfo, FromRequest, Request},
    http::{StatusCode, header},
    response::Response,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::serve::{answer::failure, peer::Peer};

/// A file of 1 MiB as JSON, with each value's place.
pub const LONGEST: usize = 8 << 20;
/// So many are in memory at a time; others wait.
pub const AT_A_TIME: usize = 2;
/// It is there within so long.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many may be read now, and for how long one is waited for.
#[derive(Clone)]
pub struct Bodies {
    turns: Arc<Semaphore>,
    patience: Duration,
}

impl Bodies {
    fn new(patience: Duration) -> Bodies {
        Bodies { turns: Arc::new(Semaphore::new(AT_A_TIME)), patience }
    }

    /// For a router to have.
    pub fn layer() -> Extension<Bodies> {
        Extension(Bodies::new(BODY_TIMEOUT))
    }
}

/// Root's, and not too long.
pub struct Body {
    pub uid: u32,
    pub bytes: Bytes,
    _turn: OwnedSemaphorePermit,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Body, Response> {
        let peer = request.extensions().get::<ConnectInfo<Peer>>();
        let peer = peer.map_or(Peer { uid: None }, |ConnectInfo(peer)| *peer);
        let uid = peer.root().map_err(|why| failure(StatusCode::FORBIDDEN, &why))?;
        let too_long = || {
            let why = format!("the request is too long: it may have {} MiB", LONGEST >> 20);
            failure(StatusCode::PAYLOAD_TOO_LARGE, &why)
        };
        let said = request.headers().get(header::CONTENT_LENGTH);
        let said = said.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if said.is_some_and(|length| length > LONGEST) {
            return Err(too_long());
        }
        let Some(Bodies { turns, patience }) = request.extensions().get::<Bodies>().cloned() else {
            let why = "nothing is known of how many requests are read";
            return Err(failure(StatusCode::INTERNAL_SERVER_ERROR, why));
        };
        let read = async {
            let turn = turns.acquire_owned().await.ok()?;
            // It has ended early, or is longer than it said.
            let bytes = to_bytes(request.into_body(), LONGEST).await.ok()?;
            Some(Body { uid, bytes, _turn: turn })
        };
        match timeout(patience, read).await {
            Ok(Some(body)) => Ok(body),
            Ok(None) => Err(too_long()),
            Err(_) => {
                let why = format!("the request was not there after {patience:?}");
                Err(failure(StatusCode::REQUEST_TIMEOUT, &why))
            }
        }
    }
}

#[cfg(test)]
mod tests;
