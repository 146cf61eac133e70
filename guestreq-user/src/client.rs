//! # Client of the agent's API

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

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

use crate::{group, wire::Failure};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A change waits for a disk.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a `GET` request.
pub fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    get_within(socket, path, ANSWER_TIMEOUT)
}

/// Sends a `GET` request with a timeout.
pub fn get_within<T: DeserializeOwned>(socket: &Path, path: &str, limit: Duration) -> Result<T> {
    block_on(within(socket, limit, SEE_LOG, ask(socket, Method::GET, path, Bytes::new())))
}

/// Sends a `GET` request; returns up to `most` bytes of the answer, and whether there are more.
pub fn get_some(socket: &Path, path: &str, most: usize) -> Result<(Vec<u8>, bool)> {
    let answer = async {
        let mut body = Connection::open(socket).await?.stream(path).await??;
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.context("reading the agent's answer")?;
            bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
            if bytes.len() > most {
                bytes.truncate(most);
                return Ok((bytes, true));
            }
        }
        Ok((bytes, false))
    };
    block_on(within(socket, ANSWER_TIMEOUT, SEE_LOG, answer))
}

/// Sends a change by `PUT`.
pub fn put<T: DeserializeOwned>(socket: &Path, path: &str, change: &impl Serialize) -> Result<T> {
    let body = serde_json::to_vec(change).context("writing JSON")?;
    let answer = ask(socket, Method::PUT, path, body.into());
    block_on(within(socket, CHANGE_TIMEOUT, CHECK_CHANGE, answer))
}

/// Sends a `GET` request within a runtime.
pub async fn get_async<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    within(socket, ANSWER_TIMEOUT, SEE_LOG, ask(socket, Method::GET, path, Bytes::new())).await
}

/// Advice after a timeout.
const SEE_LOG: &str = "see its log, or `journalctl -u guestreq`";
const CHECK_CHANGE: &str = "it may have made the change: check with `guestreq policy show`";

/// Awaits an answer, up to `limit`.
async fn within<T>(
    socket: &Path,
    limit: Duration,
    advice: &str,
    answer: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => bail!(
            "the agent at {} does not answer within {} s; {advice}",
            socket.display(),
            limit.as_secs_f64()
        ),
    }
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
    let body = body_of(response).await?;
    if status.is_success() {
        return serde_json::from_slice(&body).context(UNEXPECTED);
    }
    refused(status, &body)
}

pub const UNEXPECTED: &str = "unexpected answer: are agent and command line of the same version?";

/// A connection to the agent, for one request.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    socket: PathBuf,
}

impl Connection {
    pub async fn open(socket: &Path) -> Result<Connection> {
        let stream = UnixStream::connect(socket).await.map_err(|error| no_agent(socket, &error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender, socket: socket.to_owned() })
    }

    async fn send(mut self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "guestreq")
            .body(Full::new(body))?;
        self.sender.send_request(request).await.context("the agent did not answer")
    }

    /// Sends a `GET` request whose answer is streamed. The inner `Err` is the agent's refusal.
    pub async fn stream(self, path: &str) -> Result<Result<Incoming>> {
        let socket = self.socket.clone();
        let head = self.send(Method::GET, path, Bytes::new());
        let response = within(&socket, ANSWER_TIMEOUT, SEE_LOG, head).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(Ok(response.into_body()));
        }
        Ok(refused(status, &body_of(response).await?))
    }
}

async fn body_of(response: Response<Incoming>) -> Result<Bytes> {
    Ok(response.into_body().collect().await.context("reading the agent's answer")?.to_bytes())
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
            anyhow!("this user may not open {path}: {}", group::advice(socket))
        }
        _ => anyhow!("{path}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_timeout_is_reported_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _hung = UnixListener::bind(&path).unwrap();
        let limit = Duration::from_millis(20);
        let error = get_within::<()>(&path, "/v1/vms", limit).unwrap_err().to_string();
        let expected = format!("the agent at {} does not answer within 0.02 s; ", path.display());
        assert!(error.starts_with(&expected) && !error.contains('\n'), "{error}");
    }
}
