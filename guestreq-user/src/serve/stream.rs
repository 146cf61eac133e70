//! # The API: events
//!
//! `GET /v1/events` answers JSON lines.

use std::fmt::Write as _;

use axum::{
    body::{Body, Bytes},
    extract::{ConnectInfo, RawQuery, State as Extract},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;

use crate::{
    json,
    observe::journal::Follower,
    serve::{answer::failure, peer::Peer},
    state::shared::Shared,
    wire::events::Query,
};

/// Approximate maximum size of a part.
const PART: usize = 64 << 10;

pub async fn get_events(
    ConnectInfo(peer): ConnectInfo<Peer>,
    Extract(shared): Extract<Shared>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = match Query::parse(query.as_deref().unwrap_or_default()) {
        Ok(query) => query,
        Err(why) => return failure(StatusCode::BAD_REQUEST, &why),
    };
    // Not secret, but it slows down every request of every VM.
    if query.filter.all
        && let Err(why) = peer.root()
    {
        let why = format!("following all requests makes each of them cost more: {why}");
        return failure(StatusCode::FORBIDDEN, &why);
    }
    match shared.journal.follow(&query, peer.root().is_ok()) {
        Ok(follower) => answer(Following::begin(follower, shared)),
        Err(too_many) => failure(StatusCode::SERVICE_UNAVAILABLE, &too_many.to_string()),
    }
}

fn answer(following: Following) -> Response {
    let parts = stream::unfold(following, |mut following| async {
        let part = following.part().await?;
        Some((Ok::<_, std::convert::Infallible>(part), following))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(parts)).into_response()
}

/// Lives as long as its connection; meanwhile programs report what it needs.
struct Following {
    /// `None` only during drop.
    follower: Option<Follower>,
    shared: Shared,
}

impl Following {
    fn begin(follower: Follower, shared: Shared) -> Following {
        let following = Following { follower: Some(follower), shared };
        following.shared.update_request_events();
        following
    }

    /// The events so far, or the next one.
    async fn part(&mut self) -> Option<Bytes> {
        let follower = self.follower.as_mut()?;
        let mut part = String::new();
        let mut next = Some(follower.next().await?);
        while let Some(event) = next {
            // Serializing an event cannot fail.
            if let Ok(json) = json::line(&*event) {
                let _ = writeln!(part, "{json}");
            }
            next = if part.len() < PART { follower.take() } else { None };
        }
        Some(part.into())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.follower = None;
        self.shared.update_request_events();
    }
}

#[cfg(test)]
mod tests;
