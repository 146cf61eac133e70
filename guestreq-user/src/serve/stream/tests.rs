use std::{path::PathBuf, time::Duration};

use axum::{Router, routing::get};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::{
    client::Connection,
    config::Config,
    serve::{listener::LimitedListener, socket::Socket},
    wire::events::{Event, EventData, Kind},
};

/// An agent's socket with only a journal.
struct Agent {
    shared: Shared,
    socket: PathBuf,
    _folder: TempDir,
}

async fn serve() -> Agent {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let listener = LimitedListener::new(Socket::bind(&socket, None).await.unwrap(), 8, None);
    let shared = Shared::new(&Config::default(), "a test");
    let router = Router::new().route("/v1/events", get(get_events)).with_state(shared.clone());
    let service = router.into_make_service_with_connect_info::<Peer>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    Agent { shared, socket, _folder: folder }
}

impl Agent {
    async fn ask(&self, query: &str) -> anyhow::Result<Incoming> {
        let connection = Connection::open(&self.socket).await.unwrap();
        connection.stream(&format!("/v1/events?{query}")).await.unwrap()
    }

    fn record(&self, version: usize) {
        let version = version.to_string();
        self.shared.journal.record(EventData::AgentStarted { version, agent_pid: 1 });
    }
}

/// The ids of the events of one part; empty at the answer's end.
async fn ids(answer: &mut Incoming) -> Vec<u64> {
    let part = timeout(Duration::from_secs(20), answer.frame()).await.expect("no part");
    let Some(part) = part else { return Vec::new() };
    let part = part.unwrap().into_data().unwrap();
    let lines = std::str::from_utf8(&part).unwrap().lines();
    lines.map(|line| serde_json::from_str::<Event>(line).unwrap().id).collect()
}

#[tokio::test]
async fn past_events_are_answered_at_once_and_new_ones_streamed() {
    let agent = serve().await;
    (0..3).for_each(|n| agent.record(n));
    let mut past = agent.ask("last=2").await.unwrap();
    assert_eq!(ids(&mut past).await, [2, 3]);
    assert!(ids(&mut past).await.is_empty(), "that is all");
    let mut follower = agent.ask("follow=true&last=1").await.unwrap();
    assert_eq!(ids(&mut follower).await, [3]);
    agent.record(3);
    assert_eq!(ids(&mut follower).await, [4]);
}

#[tokio::test]
async fn control_characters_are_escaped_in_each_line() {
    let agent = serve().await;
    let error = "a\u{9b}2J\u{202e}b".to_owned();
    agent.shared.journal.record(EventData::ConfigFailed { error: error.clone() });
    let mut past = agent.ask("").await.unwrap();
    let part = timeout(Duration::from_secs(20), past.frame()).await.expect("no part");
    let part = part.unwrap().unwrap().into_data().unwrap();
    let line = std::str::from_utf8(&part).unwrap();
    assert!(line.contains(r"a\u009b2J\u202eb"), "{line}");
    let event: Event = serde_json::from_str(line).unwrap();
    assert_eq!(event.what, EventData::ConfigFailed { error });
}

#[tokio::test]
async fn the_error_for_a_wrong_query_lists_what_is_allowed() {
    let agent = serve().await;
    let error = agent.ask("kind=nonsense").await.unwrap_err().to_string();
    assert!(error.contains(&Kind::PolicyChanged.name()), "{error}");
}

#[tokio::test]
async fn all_is_for_root_and_ends_with_the_connection() {
    let agent = serve().await;
    let answer = agent.ask("all=true&follow=true").await;
    // SAFETY: no memory is passed.
    if unsafe { libc::geteuid() } != 0 {
        let error = answer.unwrap_err().to_string();
        return assert!(error.contains("use `sudo`"), "{error}");
    }
    assert!(agent.shared.journal.wants_requests());
    drop(answer);
    let closed = async {
        while agent.shared.journal.wants_requests() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), closed).await.expect("requests are still reported");
}

#[tokio::test]
async fn a_slow_reader_is_bounded_and_gets_a_report() {
    let agent = serve().await;
    let mut slow = agent.ask("follow=true").await.unwrap();
    for n in 0..30_000 {
        agent.record(n);
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let (mut received, mut lost, mut buffer) = (0, 0, Vec::new());
    while received + lost < 30_000 {
        let part = timeout(Duration::from_secs(20), slow.frame()).await.expect("no part");
        buffer.extend(part.unwrap().unwrap().into_data().unwrap());
        // Parts may end within a line.
        let whole = buffer.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = buffer.drain(..whole).collect();
        for line in std::str::from_utf8(&lines).unwrap().lines() {
            match serde_json::from_str::<Event>(line).unwrap().what {
                EventData::Lost(loss) => lost += loss.count,
                _ => received += 1,
            }
        }
    }
    assert_eq!(received + lost, 30_000, "none is repeated");
    assert!(lost > 0 && received >= 4096, "{received} received, {lost} lost");
}
