//! # Events as they come
//!
//! The answer to `GET /v1/events`: JSON lines.

use std::fmt::Write as _;

use axum::{
    body::{Body, Bytes},
    extract::{ConnectInfo, RawQuery, State as Extract},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;

use crate::{
    agent::shared::Shared,
    json,
    observe::journal::Listener,
    serve::{answer::failure, peer::Peer},
    wire::events::Query,
};

/// An answer's part is about so long, if there is that much to tell.
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
    // Others may read what is told anyway. This makes every request of every VM dearer.
    if query.filter.all
        && let Err(why) = peer.root()
    {
        let why = format!("every request costs more while somebody follows all of them: {why}");
        return failure(StatusCode::FORBIDDEN, &why);
    }
    match shared.journal.listen(&query, peer.root().is_ok()) {
        Ok(listener) => answer(Listening::begin(listener, shared)),
        Err(too_many) => failure(StatusCode::SERVICE_UNAVAILABLE, &too_many.to_string()),
    }
}

fn answer(listening: Listening) -> Response {
    let parts = stream::unfold(listening, |mut listening| async {
        let part = listening.part().await?;
        Some((Ok::<_, std::convert::Infallible>(part), listening))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(parts)).into_response()
}

/// Lives as long as its connection. While it does, programs tell what it wants to hear.
struct Listening {
    /// Gone only while this is dropped.
    listener: Option<Listener>,
    shared: Shared,
}

impl Listening {
    fn begin(listener: Listener, shared: Shared) -> Listening {
        let listening = Listening { listener: Some(listener), shared };
        listening.shared.tell_what_is_wanted();
        listening
    }

    /// What there is to tell, or what comes next.
    async fn part(&mut self) -> Option<Bytes> {
        let listener = self.listener.as_mut()?;
        let mut part = String::new();
        let mut next = Some(listener.next().await?);
        while let Some(event) = next {
            // An event consists of what JSON can say.
            if let Ok(json) = json::line(&*event) {
                let _ = writeln!(part, "{json}");
            }
            next = if part.len() < PART { listener.take() } else { None };
        }
        Some(part.into())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listener = None;
        self.shared.tell_what_is_wanted();
    }
}

#[cfg(test)]
mod tests;
