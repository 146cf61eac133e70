//! # The agent itself
//!
//! Answered also while nothing is observed: what `guestreq doctor` wants to know.

use axum::{
    extract::State as Extract,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};

use super::{
    Holder,
    policy::{Enforcement, Named},
    report,
    server::failure,
};
use crate::{
    agent::{Observer, Shared, State, enforcement, observer::Snapshot},
    json::Json,
};

/// `GET /v1/agent`
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Agent {
    /// Of the agent's guestreq.
    pub version: String,
    pub pid: u32,
    /// What `/readyz` says.
    pub ready: bool,
    /// Why it is not ready.
    pub reason: Option<String>,
    pub enforcement: Enforcement,
    /// Empty while nothing is observed.
    pub maps: Vec<Map>,
    /// The command that has the PSP now, if one does.
    pub holder: Option<Holder>,
    /// VMs whose processes cannot be read, so that they have no name and no rule that names them
    /// holds for them; null while nothing is observed.
    pub unread_vms: Option<u64>,
}

/// How full a BPF map is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Map {
    /// `vms`, `threads` or `contexts`.
    pub map: String,
    pub entries: u64,
    pub capacity: u64,
}

pub async fn get(Extract(shared): Extract<Shared>) -> Response {
    let (reason, status, maps, holder, unread_vms) = match &mut *shared.state() {
        State::Waiting { reason } => {
            let asked = shared.asked();
            // What keeps the agent from observing keeps it from enforcing, too.
            let why = asked.reason.clone().or_else(|| Some(reason.clone()));
            let status = enforcement::Status { reason: why, ..asked };
            (Some(reason.clone()), status, Vec::new(), None, None)
        }
        State::Observing(observer) => match observer.refresh() {
            Ok(snapshot) => (
                observer.not_ready(),
                observer.enforcement_status(),
                maps(observer, &snapshot),
                report::psp(observer, &snapshot).holder,
                Some(observer.table.unread() as u64),
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
        enforcement: enforced(status),
        maps,
        holder,
        unread_vms,
    })
    .into_response()
}

fn enforced(status: enforcement::Status) -> Enforcement {
    Enforcement {
        backend: Named(status.backend),
        mode: Named(status.mode),
        verified: status.verified,
        reason: status.reason,
        bypassed: status.bypassed,
    }
}

/// The maps that can be full, by the names that users see.
pub fn maps(observer: &Observer, snapshot: &Snapshot) -> Vec<Map> {
    let (running, exited) = observer.table.counts();
    let maps = [
        ("vms", "VMS", (running + exited) as u64),
        ("threads", "THREADS", snapshot.host.threads),
        ("contexts", "CONTEXTS", snapshot.host.contexts),
    ];
    let map = |(name, map, entries): (&str, &str, u64)| {
        let capacity = u64::from(observer.programs.capacity(map)?);
        Some(Map { map: name.to_owned(), entries, capacity })
    };
    maps.into_iter().filter_map(map).collect()
}
