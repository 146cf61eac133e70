//! # Following an agent, and the next one

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

/// How often an agent that is gone is looked for.
const RETRY_TIMEOUT: Duration = Duration::from_millis(300);
/// What the programs told while no agent ran began at most so long before its end was noticed.
const OVERLAP: Duration = Duration::from_secs(10);

pub struct Follow {
    pub socket: PathBuf,
    pub query: Query,
    pub out: Out,
}

/// Why an answer ended.
enum End {
    /// All is said, or nobody reads it.
    Done,
    AgentGone,
}

impl Follow {
    pub async fn run(mut self) -> Result<()> {
        tokio::select! {
            done = self.follow() => done,
            // The way in which one ends it: no failure.
            interrupted = tokio::signal::ctrl_c() => interrupted.context("SIGINT"),
        }
    }

    async fn follow(&mut self) -> Result<()> {
        let mut connection = Connection::open(&self.socket).await?;
        self.say_strangers().await;
        let mut since = Time::now();
        loop {
            let path = format!("/v1/events?{}", self.query);
            let end = match connection.stream(&path).await {
                Ok(answer) => self.read(answer?, &mut since).await?,
                Err(_) => End::AgentGone,
            };
            if matches!(end, End::Done) {
                return Ok(());
            }
            ensure!(self.query.follow, "the agent ended before it had told all");
            eprintln!("guestreq: the agent is gone: waiting for the next one");
            let Some(next) = self.next_agent().await else { return Ok(()) };
            connection = next;
            eprintln!("guestreq: an agent is there again");
            // All that this one knows and that was not shown; but not how VMs came to be that it
            // has found running.
            self.query.since = Some(Since(since.before(OVERLAP)));
            self.query.last = None;
        }
    }

    /// Names that no VM has may be mistyped.
    async fn say_strangers(&self) {
        if self.query.filter.vms.is_empty() {
            return;
        }
        // An agent that observes nothing yet knows no VMs, and has events all the same.
        let Ok(vms) = client::get_async::<Vms>(&self.socket, "/v1/vms").await else { return };
        for stranger in nearest::strangers(&self.query.filter.vms, &vms) {
            eprintln!("guestreq: {stranger}");
        }
    }

    /// `None`: nobody reads what it would say.
    async fn next_agent(&self) -> Option<Connection> {
        loop {
            sleep(RETRY_TIMEOUT).await;
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
        let mut look = interval(Duration::from_secs(1));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let frame = tokio::select! {
                frame = answer.frame() => frame,
                _ = look.tick() => match self.out.closed() {
                    Some(Closed) => return Ok(End::Done),
                    None => continue,
                }
            };
            let part = match frame {
                None => return Ok(if self.query.follow { End::AgentGone } else { End::Done }),
                Some(Err(_)) => return Ok(End::AgentGone),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            rest.extend_from_slice(&part);
            let events = whole_lines(&mut rest)?;
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

/// Takes the whole lines out of what has come, each as an event and as it was written.
fn whole_lines(rest: &mut Vec<u8>) -> Result<Vec<(Event, String)>> {
    let Some(end) = rest.iter().rposition(|&byte| byte == b'\n') else { return Ok(Vec::new()) };
    let tail = rest.split_off(end + 1);
    let lines = String::from_utf8(std::mem::replace(rest, tail)).context("the agent's answer")?;
    let event = |line: &str| {
        let event = serde_json::from_str(line)
            .context("the agent's answer is not what this version expects: same version?")?;
        Ok((event, line.to_owned()))
    };
    lines.lines().map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::events::tests::{event, examples};

    #[test]
    fn events_are_put_together_however_they_were_cut() {
        let lines: Vec<String> = examples()
            .into_iter()
            .zip(1..)
            .map(|(what, id)| serde_json::to_string(&event(id, None, what)).unwrap() + "\n")
            .collect();
        let (mut rest, mut heard) = (Vec::new(), Vec::new());
        for part in lines.concat().as_bytes().chunks(7) {
            rest.extend_from_slice(part);
            heard.extend(whole_lines(&mut rest).unwrap());
        }
        assert!(rest.is_empty());
        assert_eq!(heard.len(), lines.len());
        for ((event, line), (id, sent)) in heard.iter().zip((1..).zip(&lines)) {
            assert_eq!((event.id, line.as_str()), (id, sent.trim_end()));
        }
    }

    #[test]
    fn what_is_no_event_is_told() {
        let error = whole_lines(&mut b"{\"id\": 1}\n".to_vec()).unwrap_err();
        assert!(error.to_string().contains("same version?"), "{error}");
    }
}
