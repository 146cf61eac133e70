//! # The agent's servers
//!
//! TCP for what may be read by anyone who can connect: metrics and health. A
//! unix socket for the command line.

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

use crate::serve::{
    answer::{answer, failure},
    peer::Peer,
};
use crate::{
    agent::shared::Shared,
    config::Config,
    group, metrics,
    serve::{
        body::Bodies,
        control, explain,
        listener::LimitedListener,
        overview, report,
        socket::Socket,
        status, stream,
        unread::{self, Unread},
    },
};

/// Connections at a time: scrapers and health checks.
const MOST_TCP: usize = 64;
/// An answer is gone within so long; Prometheus itself waits for ten seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Of the command line, of which a follower may stay for days, and rest as long as it likes.
const MOST_UNIX: usize = 128;

/// Bound, so that a port in use is known before anything is attached.
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
            _ => anyhow::Error::new(error).context(format!("listen on {}", config.listen)),
        })?;
        let address = tcp.local_addr().context("the address that was bound")?;
        let group = group::wanted(config.socket_group.as_deref())?;
        let unix = Socket::bind(&config.socket, group)
            .await
            .with_context(|| format!("{}", config.socket.display()))?;
        Ok(Servers { tcp, address, unix, socket: SocketFile(config.socket.clone()) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process ends; the socket's file lives as long as what is returned.
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
                error!("the metrics' server has ended: {error}");
            }
        });
        tokio::spawn(async move {
            if let Err(error) =
                axum::serve(LimitedListener::new(self.unix, MOST_UNIX, None), private).await
            {
                error!("the command line's server has ended: {error}");
            }
        });
        self.socket
    }
}

/// What the command line may ask.
pub fn private(shared: Shared) -> Router {
    Router::new()
        .route("/v1/vms", get(get_vms))
        .route("/v1/psp", get(get_psp))
        .route("/v1/agent", get(status::get))
        .route("/v1/overview", get(get_overview))
        .route("/v1/events", get(stream::get_events))
        .route("/v1/explain", get(explain::get_explain))
        // Whatever changes anything is here and nowhere else, and wants root.
        .route("/v1/policy", get(control::get_policy).put(control::put_policy))
        .route("/v1/policy/applied", put(control::put_applied))
        .layer(Bodies::layer())
        .layer(from_fn(unread::bound))
        .layer(Unread::layer())
        .with_state(shared)
}

/// The socket's file goes with the agent.
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

async fn get_overview(Extract(shared): Extract<Shared>) -> Response {
    let config = shared.config().clone();
    answer(&shared, |observer, snapshot| overview::overview(observer, snapshot, &config))
}
