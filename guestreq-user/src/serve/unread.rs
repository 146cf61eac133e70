//! # A bound on unread answers
//!
//! An answer stays in memory until its client has read it. Beyond a bound only root is answered.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{ConnectInfo, Request},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use crate::serve::{answer::failure, peer::Peer};

/// Bytes of unread answers: several times a host's largest one.
const MOST: usize = 32 << 20;

/// Bytes of unread answers.
#[derive(Clone, Default)]
pub struct Unread(Arc<AtomicUsize>);

impl Unread {
    /// A layer for a router with [`bound`].
    pub fn layer() -> Extension<Unread> {
        Extension(Unread::default())
    }

    fn keep(&self, bytes: Bytes) -> Bytes {
        self.0.fetch_add(bytes.len(), Ordering::Relaxed);
        Bytes::from_owner(Waiting { bytes, unread: self.clone() })
    }
}

/// Counts until dropped.
struct Waiting {
    bytes: Bytes,
    unread: Unread,
}

impl AsRef<[u8]> for Waiting {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.unread.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Refuses beyond the bound, and counts the answer.
pub async fn bound(Extension(unread): Extension<Unread>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let root = peer.is_some_and(|ConnectInfo(peer)| peer.root().is_ok());
    let waiting = unread.0.load(Ordering::Relaxed);
    if waiting > MOST && !root {
        let why = format!("{} MiB of answers are unread", waiting >> 20);
        return failure(StatusCode::SERVICE_UNAVAILABLE, &why);
    }
    let (head, body) = next.run(request).await.into_parts();
    // Streams are produced as they are read.
    if body.size_hint().exact().is_none() {
        return (head, body).into_response();
    }
    match body.collect().await {
        Ok(whole) => (head, Body::from(unread.keep(whole.to_bytes()))).into_response(),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, middleware::from_fn, routing::get};
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    const ANSWER: usize = 8 << 20;

    /// Row 5 of the second review.
    #[tokio::test]
    async fn unread_answers_are_bounded_except_for_root() {
        let unread = Unread::default();
        let router = Router::new()
            .route("/", get(|| async { vec![b'x'; ANSWER] }))
            .layer(from_fn(bound))
            .layer(Extension(unread.clone()));
        let ask = async |uid| {
            let mut request = Request::new(Body::empty());
            request.extensions_mut().insert(ConnectInfo(Peer { uid: Some(uid) }));
            TowerToHyperService::new(router.clone()).call(request).await.unwrap()
        };
        let mut answers = Vec::new();
        let refused = loop {
            let answer = ask(1000).await;
            if answer.status() != StatusCode::OK {
                break answer;
            }
            answers.push(answer);
        };
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answers.len(), MOST / ANSWER + 1);
        assert_eq!(ask(0).await.status(), StatusCode::OK, "root is answered");
        // A received frame is still in memory.
        let frame = answers.remove(0).into_body().frame().await.unwrap().unwrap();
        assert_eq!(ask(1000).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(frame);
        assert_eq!(ask(1000).await.status(), StatusCode::OK);
        drop((answers, refused));
        assert_eq!(unread.0.load(Ordering::Relaxed), 0, "all is released");
    }
}
