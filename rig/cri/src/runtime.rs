//! # Calls to a container runtime over its socket

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use crate::messages::{Empty, StatusResponse, Version};

/// A kubelet's default is two minutes, too; an emulated machine needs seconds.
const TIMEOUT: Duration = Duration::from_secs(120);

pub struct Runtime {
    tokio: tokio::runtime::Runtime,
    channel: Channel,
}

impl Runtime {
    pub fn connect(socket: &Path) -> Result<Runtime> {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        let channel = tokio.block_on(endpoint.timeout(TIMEOUT).connect());
        let channel = channel.with_context(|| format!("connecting to {}", socket.display()))?;
        Ok(Runtime { tokio, channel })
    }

    /// Calls a method of the service of pods and containers.
    pub fn call<Q, A>(&self, method: &str, request: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.unary("RuntimeService", method, request)
    }

    /// Calls a method of the service of images.
    pub fn call_images<Q, A>(&self, method: &str, request: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.unary("ImageService", method, request)
    }

    fn unary<Q, A>(&self, service: &str, method: &str, request: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = PathAndQuery::try_from(format!("/runtime.v1.{service}/{method}"))?;
        let answer = self.tokio.block_on(async {
            let mut client = Grpc::new(self.channel.clone());
            client.ready().await.map_err(|error| anyhow!("{method}: {error}"))?;
            let codec = ProstCodec::<Q, A>::default();
            client.unary(Request::new(request), path, codec).await.map_err(|status| {
                let code = match status.code() {
                    Code::Unknown => String::new(),
                    code => format!("{code:?}: "),
                };
                anyhow!("{method}: {code}{}", status.message())
            })
        });
        Ok(answer?.into_inner())
    }

    /// The runtime's version.
    pub fn version(&self) -> Result<String> {
        let version: Version = self.call("Version", Empty {})?;
        Ok(version.runtime_version)
    }

    /// What it still lacks, such as a network; nothing when it is ready.
    pub fn lacks(&self) -> Result<Vec<String>> {
        let answer: StatusResponse = self.call("Status", Empty {})?;
        let conditions = answer.status.context("no status")?.conditions;
        let missing = conditions.into_iter().filter(|condition| !condition.status);
        Ok(missing.map(|it| format!("{}: {}", it.r#type, it.message)).collect())
    }
}
