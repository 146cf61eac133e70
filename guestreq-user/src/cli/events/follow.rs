//! # Following events, across restarts of the agent

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{
    nearest,
    out::{Closed, Out},
};
use crate::{
    client::{self, Connection},
    wire::{
        Vms,
        events::{After, Event, Query, Since, Time},
    },
};

/// Pause between attempts to connect to the next agent.
const BACKOFF: Duration = Duration::from_millis(300);
/// The next agent may report events with times up to this long before the last one shown.
const OVERLAP: Duration = Duration::from_secs(10);

pub struct Follow {
    pub socket: PathBuf,
    pub query: Query,
    pub out: Out,
}

/// Why an answer ended.
enum End {
    /// The answer is complete, or standard output is closed.
    Done,
    AgentStopped,
}

impl Follow {
    pub async fn run(mut self) -> Result<()> {
        tokio::select! {
            done = self.follow() => done,
            // The usual way to end.
            interrupted = tokio::signal::ctrl_c() => interrupted.context("SIGINT"),
        }
    }

    async fn follow(&mut self) -> Result<()> {
        let mut connection = Connection::open(&self.socket).await?;
        self.warn_about_unknown_vms().await;
        let mut since = Time::now();
        loop {
            let path = format!("/v1/events?{}", self.query);
            let end = match connection.stream(&path).await {
                Ok(answer) => self.read(answer?, &mut since).await?,
                Err(_) => End::AgentStopped,
            };
            if matches!(end, End::Done) {
                return Ok(());
            }
            ensure!(self.query.follow, "the agent stopped before its answer was complete");
            eprintln!("guestreq: the agent has stopped: waiting for the next one");
            let Some(next) = self.next_agent().await else { return Ok(()) };
            connection = next;
            eprintln!("guestreq: connected to the next agent");
            // What was not shown yet, without older `new_vm` events of VMs found running.
            self.query.since = Some(Since(since.before(OVERLAP)));
            self.query.last = None;
        }
    }

    /// Warns of VMs in the filter that are not known: a name may be mistyped.
    async fn warn_about_unknown_vms(&self) {
        if self.query.filter.vms.is_empty() {
            return;
        }
        // An agent that does not observe yet has events but no VMs.
        let Ok(vms) = client::get_async::<Vms>(&self.socket, "/v1/vms").await else { return };
        for warning in nearest::unknown_vms(&self.query.filter.vms, &vms) {
            eprintln!("guestreq: {warning}");
        }
    }

    /// `None`: standard output is closed.
    async fn next_agent(&self) -> Option<Connection> {
        loop {
            sleep(BACKOFF).await;
            if self.out.closed().is_some() {
                return None;
            }
            if let Ok(connection) = Connection::open(&self.socket).await {
                return Some(connection);
            }
        }
    }

    async fn read(&mut self, mut answer: Incoming, since: &mut Time) -> Result<End> {
        let mut rest = Vec::new();
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let frame = tokio::select! {
                frame = answer.frame() => frame,
                _ = tick.tick() => match self.out.closed() {
                    Some(Closed) => return Ok(End::Done),
                    None => continue,
                }
            };
            let part = match frame {
                None => return Ok(if self.query.follow { End::AgentStopped } else { End::Done }),
                Some(Err(_)) => return Ok(End::AgentStopped),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            rest.extend_from_slice(&part);
            let events = complete_lines(&mut rest)?;
            if let Some((Event { agent, id, time, .. }, _)) = events.last() {
                self.query.after = Some(After { agent: *agent, id: *id });
                *since = (*since).max(*time);
            }
            if let Some(Closed) = self.out.write(&events)? {
                return Ok(End::Done);
            }
        }
    }
}

/// Takes complete lines out of `rest`, each as an event and as text.
fn complete_lines(rest: &mut Vec<u8>) -> Result<Vec<(Event, String)>> {
    let Some(end) = rest.iter().rposition(|&byte| byte == b'\n') else { return Ok(Vec::new()) };
    let tail = rest.split_off(end + 1);
    let lines =
        String::from_utf8(std::mem::replace(rest, tail)).context("reading the agent's answer")?;
    let event = |line: &str| {
        let event = serde_json::from_slice(line.as_bytes()).context(client::UNEXPECTED)?;
        Ok((event, line.to_owned()))
    };
    lines.lines().map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::events::tests::{event, examples};

    #[test]
    fn events_are_reassembled_from_any_chunks() {
        let lines: Vec<String> = examples()
            .into_iter()
            .zip(1..)
            .map(|(what, id)| serde_json::to_string(&event(id, None, what)).unwrap() + "\n")
            .collect();
        let (mut rest, mut events) = (Vec::new(), Vec::new());
        for part in lines.concat().as_bytes().chunks(7) {
            rest.extend_from_slice(part);
            events.extend(complete_lines(&mut rest).unwrap());
        }
        assert!(rest.is_empty());
        assert_eq!(events.len(), lines.len());
        for ((event, line), (id, sent)) in events.iter().zip((1..).zip(&lines)) {
            assert_eq!((event.id, line.as_str()), (id, sent.trim_end()));
        }
    }

    #[test]
    fn a_line_that_is_no_event_is_an_error() {
        let error = complete_lines(&mut b"{\"id\": 1}\n".to_vec()).unwrap_err();
        assert!(error.to_string().contains("same version?"), "{error}");
    }
}
