//! # The agent's servers
//!
//! TCP for metrics and health, readable by all who can connect; a unix socket for the command line.

use std::{fs, io, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::State as Extract,
    http::{StatusCode, header},
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::{get, put},
};
use log::error;
use tokio::net::TcpListener;

use crate::{
    config::Config,
    group, metrics,
    serve::{
        answer::{answer, failure},
        body::Bodies,
        control, explain, launches,
        listener::LimitedListener,
        overview,
        peer::Peer,
        report,
        socket::Socket,
        status, stream,
        unread::{self, Unread},
    },
    state::shared::Shared,
};

/// Concurrent connections of scrapers and health checks.
const MOST_TCP: usize = 64;
/// For writing an answer; Prometheus waits for 10 s by default.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Concurrent connections of the command line; followers may be idle for days.
const MOST_UNIX: usize = 128;

/// Bound before anything is attached, so that a port in use is an early error.
pub struct Servers {
    tcp: TcpListener,
    address: SocketAddr,
    unix: Socket,
    socket: SocketFile,
}

impl Servers {
    pub async fn bind(config: &Config) -> Result<Servers> {
        let tcp = TcpListener::bind(config.listen).await.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => anyhow::anyhow!(
                "{} is in use: set another `listen` in the configuration, or --listen",
                config.listen
            ),
            _ => anyhow::Error::new(error).context(format!("listening on {}", config.listen)),
        })?;
        let address = tcp.local_addr().context("reading the bound address")?;
        let group = group::wanted(config.socket_group.as_deref())?;
        let unix = Socket::bind(&config.socket, group)
            .await
            .with_context(|| format!("{}", config.socket.display()))?;
        Ok(Servers { tcp, address, unix, socket: SocketFile(config.socket.clone()) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process ends; the socket's file is removed when the result is dropped.
    pub fn start(self, shared: Shared) -> SocketFile {
        let public = Router::new()
            .route("/metrics", get(get_metrics))
            .route("/healthz", get(get_healthz))
            .route("/readyz", get(get_readyz))
            .with_state(shared.clone());
        let private = private(shared).into_make_service_with_connect_info::<Peer>();
        tokio::spawn(async move {
            if let Err(error) =
                axum::serve(LimitedListener::new(self.tcp, MOST_TCP, Some(ANSWER_TIMEOUT)), public)
                    .await
            {
                error!("the metrics server stopped: {error}");
            }
        });
        tokio::spawn(async move {
            if let Err(error) =
                axum::serve(LimitedListener::new(self.unix, MOST_UNIX, None), private).await
            {
                error!("the API server stopped: {error}");
            }
        });
        self.socket
    }
}

/// The API of the command line.
pub fn private(shared: Shared) -> Router {
    Router::new()
        .route("/v1/vms", get(get_vms))
        .route("/v1/psp", get(get_psp))
        .route("/v1/launches", get(get_launches))
        .route("/v1/agent", get(status::get))
        .route("/v1/overview", get(get_overview))
        // For `guestreq report`, which may not know the address that the agent listens on.
        .route("/metrics", get(get_metrics))
        .route("/v1/events", get(stream::get_events))
        .route("/v1/explain", get(explain::get_explain))
        // All changes; root only.
        .route("/v1/policy", get(control::get_policy).put(control::put_policy))
        .route("/v1/policy/applied", put(control::put_applied))
        .layer(Bodies::layer())
        .layer(from_fn(unread::bound))
        .layer(Unread::layer())
        .with_state(shared)
}

/// Removes the socket's file when dropped.
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

async fn get_metrics(Extract(shared): Extract<Shared>) -> Response {
    match metrics::render(&shared) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
    }
}

async fn get_healthz(Extract(shared): Extract<Shared>) -> Response {
    health(shared.dead())
}

async fn get_readyz(Extract(shared): Extract<Shared>) -> Response {
    health(shared.not_ready())
}

fn health(trouble: Option<String>) -> Response {
    match trouble {
        None => "ok\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

async fn get_vms(Extract(shared): Extract<Shared>) -> Response {
    answer(&shared, report::vms)
}

async fn get_psp(Extract(shared): Extract<Shared>) -> Response {
    answer(&shared, report::psp)
}

async fn get_launches(Extract(shared): Extract<Shared>) -> Response {
    answer(&shared, launches::launches)
}

async fn get_overview(Extract(shared): Extract<Shared>) -> Response {
    let config = shared.config().clone();
    answer(&shared, |observer, snapshot| overview::overview(observer, snapshot, &config))
}
