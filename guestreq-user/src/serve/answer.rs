//! # Responses

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::json::Json;
use crate::{
    policy::Refusal,
    state::{
        observer::Observer,
        shared::{Shared, State},
        snapshot::Snapshot,
    },
    wire::Failure,
};

pub fn answer<T: Serialize>(
    shared: &Shared,
    report: impl FnOnce(&Observer, &Snapshot) -> T,
) -> Response {
    let answered = observing(shared, |observer| {
        let snapshot = observer.refresh()?;
        Ok(report(observer, &snapshot))
    });
    answered.map(Json).into_response()
}

pub fn failure(status: StatusCode, error: &str) -> Response {
    (status, Json(Failure { error: error.to_owned() })).into_response()
}

pub(super) enum Refused {
    Waiting(String),
    Refusal(Refusal),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, why) = match self {
            Refused::Waiting(reason) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("not observing: {reason}"))
            }
            Refused::Refusal(Refusal::UnknownVm(why)) => (StatusCode::NOT_FOUND, why),
            Refused::Refusal(Refusal::Refused(why)) => (StatusCode::CONFLICT, why),
            Refused::Refusal(Refusal::Failed(why)) => (StatusCode::INTERNAL_SERVER_ERROR, why),
        };
        failure(status, &why)
    }
}

/// Runs `what` with the observer, if there is one.
pub(super) fn observing<T>(
    shared: &Shared,
    what: impl FnOnce(&mut Observer) -> Result<T, Refusal>,
) -> Result<T, Refused> {
    match &mut *shared.state() {
        State::Waiting { reason } => Err(Refused::Waiting(reason.clone())),
        State::Observing(observer) => what(observer).map_err(Refused::Refusal),
    }
}
