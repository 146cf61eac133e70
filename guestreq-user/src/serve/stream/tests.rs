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

/// An agent's socket, with nothing behind it but a journal.
struct Agent {
    shared: Shared,
    socket: PathBuf,
    _folder: TempDir,
}

async fn serve() -> Agent {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let door = LimitedListener::new(Socket::bind(&socket, None).await.unwrap(), 8, None);
    let shared = Shared::new(&Config::default(), "a test");
    let router = Router::new().route("/v1/events", get(get_events)).with_state(shared.clone());
    let service = router.into_make_service_with_connect_info::<Peer>();
    tokio::spawn(async move { axum::serve(door, service).await });
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
    let part = timeout(Duration::from_secs(20), answer.frame()).await.expect("nothing comes");
    let Some(part) = part else { return Vec::new() };
    let part = part.unwrap().into_data().unwrap();
    let lines = std::str::from_utf8(&part).unwrap().lines();
    lines.map(|line| serde_json::from_str::<Event>(line).unwrap().id).collect()
}

#[tokio::test]
async fn what_has_happened_is_answered_at_once_and_what_comes_as_it_comes() {
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
async fn what_a_terminal_would_obey_is_escaped_in_each_line() {
    let agent = serve().await;
    let error = "a\u{9b}2J\u{202e}b".to_owned();
    agent.shared.journal.record(EventData::ConfigFailed { error: error.clone() });
    let mut past = agent.ask("").await.unwrap();
    let part = timeout(Duration::from_secs(20), past.frame()).await.expect("nothing comes");
    let part = part.unwrap().unwrap().into_data().unwrap();
    let line = std::str::from_utf8(&part).unwrap();
    assert!(line.contains(r"a\u009b2J\u202eb"), "{line}");
    let event: Event = serde_json::from_str(line).unwrap();
    assert_eq!(event.what, EventData::ConfigFailed { error });
}

#[tokio::test]
async fn a_wrong_question_is_answered_with_what_is_allowed() {
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
    let gone = async {
        while agent.shared.journal.wants_requests() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), gone).await.expect("it still listens, to nobody");
}

#[tokio::test]
async fn a_reader_that_does_not_read_costs_a_bounded_amount_and_is_told() {
    let agent = serve().await;
    let mut slow = agent.ask("follow=true").await.unwrap();
    for n in 0..30_000 {
        agent.record(n);
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let (mut told, mut lost, mut heard) = (0, 0, Vec::new());
    while told + lost < 30_000 {
        let part = timeout(Duration::from_secs(20), slow.frame()).await.expect("nothing comes");
        heard.extend(part.unwrap().unwrap().into_data().unwrap());
        // Parts are cut anywhere.
        let whole = heard.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = heard.drain(..whole).collect();
        for line in std::str::from_utf8(&lines).unwrap().lines() {
            match serde_json::from_str::<Event>(line).unwrap().what {
                EventData::Lost(loss) => lost += loss.count,
                _ => told += 1,
            }
        }
    }
    assert_eq!(told + lost, 30_000, "none is told twice");
    assert!(lost > 0 && told >= 4096, "{told} told, {lost} lost");
}
