//! # The API: status of the agent
//!
//! Available also while nothing is observed.

use axum::{
    extract::State as Extract,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

use crate::{
    enforce::enforcement,
    serve::{answer::failure, json::Json, report},
    state::{
        shared::{Shared, State},
        snapshot::maps,
    },
    wire::status::Agent,
};

pub async fn get(Extract(shared): Extract<Shared>) -> Response {
    let (reason, status, maps, holder, unread_vms, psp) = match &mut *shared.state() {
        State::Waiting { reason } => {
            let asked = shared.configured();
            // Without observing there is no enforcement.
            let why = asked.reason.clone().or_else(|| Some(reason.clone()));
            let status = enforcement::Status { reason: why, ..asked };
            (Some(reason.clone()), status, Vec::new(), None, None, None)
        }
        State::Observing(observer) => match observer.refresh() {
            Ok(snapshot) => (
                observer.not_ready(),
                observer.enforcement.status(),
                maps(&observer.programs, &observer.table, &snapshot.host),
                report::holder(observer, &snapshot),
                Some(observer.table.unread() as u64),
                Some(observer.psp().clone()),
            ),
            Err(error) => {
                return failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}"));
            }
        },
    };
    Json(Agent {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        ready: reason.is_none(),
        reason,
        enforcement: status.into(),
        maps,
        holder,
        unread_vms,
        psp,
        feature_file: shared.feature_file().clone(),
    })
    .into_response()
}
