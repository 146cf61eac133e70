//! # Bodies of requests that change something
//!
//! Client and length are checked before the body is read. Few bodies are read concurrently, each
//! with a timeout.

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

/// Room for a file of 1 MiB as JSON, with the line of each value.
pub const LONGEST: usize = 8 << 20;
/// Bodies in memory at a time; others wait.
pub const AT_A_TIME: usize = 2;
/// From the wait for a permit to the end of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Limits concurrent bodies.
#[derive(Clone)]
pub struct Bodies {
    permits: Arc<Semaphore>,
    limit: Duration,
}

impl Bodies {
    fn new(limit: Duration) -> Bodies {
        Bodies { permits: Arc::new(Semaphore::new(AT_A_TIME)), limit }
    }

    /// A layer for a router.
    pub fn layer() -> Extension<Bodies> {
        Extension(Bodies::new(BODY_TIMEOUT))
    }
}

/// A body from root, of a bounded length.
pub struct Body {
    pub uid: u32,
    pub bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Body, Response> {
        let peer = request.extensions().get::<ConnectInfo<Peer>>();
        let peer = peer.map_or(Peer { uid: None }, |ConnectInfo(peer)| *peer);
        let uid = peer.root().map_err(|why| failure(StatusCode::FORBIDDEN, &why))?;
        let too_long = || {
            let why = format!("the request is too long: at most {} MiB", LONGEST >> 20);
            failure(StatusCode::PAYLOAD_TOO_LARGE, &why)
        };
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > LONGEST) {
            return Err(too_long());
        }
        let Some(Bodies { permits, limit }) = request.extensions().get::<Bodies>().cloned() else {
            let why = "the router has no layer for bodies";
            return Err(failure(StatusCode::INTERNAL_SERVER_ERROR, why));
        };
        let read = async {
            let permit = permits.acquire_owned().await.ok()?;
            // Fails if it is truncated or too long.
            let bytes = to_bytes(request.into_body(), LONGEST).await.ok()?;
            Some(Body { uid, bytes, _permit: permit })
        };
        match timeout(limit, read).await {
            Ok(Some(body)) => Ok(body),
            Ok(None) => Err(too_long()),
            Err(_) => {
                let why = format!("the request was incomplete after {limit:?}");
                Err(failure(StatusCode::REQUEST_TIMEOUT, &why))
            }
        }
    }
}

#[cfg(test)]
mod tests;
