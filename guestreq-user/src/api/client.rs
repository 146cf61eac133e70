//! # Asking the agent

use std::{io, path::Path, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::{Failure, group};

/// `GET`s a path of the agent's API.
pub fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    block_on(get_async(socket, path))
}

/// The same, but not for longer than this.
pub fn get_within<T: DeserializeOwned>(socket: &Path, path: &str, limit: Duration) -> Result<T> {
    block_on(async {
        let answer = ask(socket, Method::GET, path, Bytes::new());
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_) => bail!("the agent has not answered for {limit:?}"),
        }
    })
}

/// `PUT`s a change.
pub fn put<T: DeserializeOwned>(socket: &Path, path: &str, change: &impl Serialize) -> Result<T> {
    let body = serde_json::to_vec(change).context("writing JSON")?;
    block_on(ask(socket, Method::PUT, path, body.into()))
}

/// `GET`s, within a runtime.
pub async fn get_async<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    ask(socket, Method::GET, path, Bytes::new()).await
}

fn block_on<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(answer)
}

async fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<T> {
    let connection = Connection::open(socket).await?;
    let response = connection.send(method, path, body).await?;
    let status = response.status();
    let body = response.into_body().collect().await.context("the agent's answer")?.to_bytes();
    if status.is_success() {
        return serde_json::from_slice(&body)
            .context("the agent's answer is not what this version expects: same version?");
    }
    refused(status, &body)
}

/// A connection to the agent, for one question.
pub struct Connection(http1::SendRequest<Full<Bytes>>);

impl Connection {
    pub async fn open(socket: &Path) -> Result<Connection> {
        let stream = UnixStream::connect(socket).await.map_err(|error| no_agent(socket, &error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection(sender))
    }

    async fn send(mut self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "guestreq")
            .body(Full::new(body))?;
        self.0.send_request(request).await.context("the agent did not answer")
    }

    /// `GET`s an answer that comes bit by bit; `Err` in it: the agent refuses, and says why.
    pub async fn stream(self, path: &str) -> Result<Result<Incoming>> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(Ok(response.into_body()));
        }
        let body = response.into_body().collect().await.context("the agent's answer")?.to_bytes();
        Ok(refused(status, &body))
    }
}

fn refused<T>(status: StatusCode, body: &[u8]) -> Result<T> {
    match serde_json::from_slice::<Failure>(body) {
        Ok(failure) => bail!("{}", failure.error),
        Err(_) => bail!("the agent answered {status}"),
    }
}

fn no_agent(socket: &Path, error: &io::Error) -> anyhow::Error {
    let path = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow!(
            "no agent answers at {path}: start it with `sudo systemctl start guestreq`, or `sudo \
             guestreq agent`"
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow!("{path} may not be opened by this user: {}", group::advice(socket))
        }
        _ => anyhow!("{path}: {error}"),
    }
}
