//! # HTTP probes, from the node to the pod's address

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::manifest::{list, only, text};

pub struct Probe {
    path: String,
    port: u16,
    period: Duration,
    timeout: Duration,
    failures: u64,
}

impl Probe {
    /// A container's probe of this name, if it has one.
    pub fn of(container: &Value, name: &str) -> Result<Option<Probe>> {
        let probe = &container[name];
        if probe.is_null() {
            return Ok(None);
        }
        only(probe, name, &["httpGet", "periodSeconds", "timeoutSeconds", "failureThreshold"])?;
        let get = &probe["httpGet"];
        only(get, "httpGet", &["path", "port"])?;
        let named = |port: &&Value| port["name"] == get["port"];
        let port = match get["port"].as_u64() {
            Some(number) => number,
            None => list(container, "ports").find(named).context("no such port")?["containerPort"]
                .as_u64()
                .context("a port without a number")?,
        };
        let number = |key: &str, default: u64| probe[key].as_u64().unwrap_or(default);
        Ok(Some(Probe {
            path: text(get, "path")?.to_owned(),
            port: u16::try_from(port)?,
            period: Duration::from_secs(number("periodSeconds", 10)),
            timeout: Duration::from_secs(number("timeoutSeconds", 1)),
            failures: number("failureThreshold", 3),
        }))
    }

    /// One probe; fails with the reason.
    pub fn once(&self, ip: &str) -> Result<()> {
        let (status, body) = get(&format!("{ip}:{}", self.port), &self.path, self.timeout)?;
        match status {
            200..400 => Ok(()),
            _ => bail!("{} answers {status}: {}", self.path, body.trim()),
        }
    }

    /// Probes until it succeeds, or fails as often as it may.
    pub fn until_success(&self, ip: &str) -> Result<()> {
        for failed in 1.. {
            match self.once(ip) {
                Ok(()) => break,
                Err(error) if failed >= self.failures => {
                    return Err(error.context(format!("{failed} probes have failed")));
                }
                Err(_) => sleep(self.period),
            }
        }
        Ok(())
    }

    /// Probes until it succeeds, however often it fails; what it said last if that takes too long.
    pub fn until(&self, ip: &str, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            match self.once(ip) {
                Ok(()) => return Ok(()),
                Err(error) if start.elapsed() > limit => return Err(error),
                Err(_) => sleep(self.period),
            }
        }
    }
}

/// GET: the status and the body.
pub fn get(address: &str, path: &str, timeout: Duration) -> Result<(u16, String)> {
    let to = address.to_socket_addrs()?.next().context("no address")?;
    let mut stream =
        TcpStream::connect_timeout(&to, timeout).with_context(|| format!("connecting to {to}"))?;
    stream.set_read_timeout(Some(timeout))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("the answer of {path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
    let status = head.split(' ').nth(1).context("an answer without a status")?.parse()?;
    Ok((status, body.to_owned()))
}
