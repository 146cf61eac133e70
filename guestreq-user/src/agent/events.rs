//! # What is told one by one
//!
//! Reads the programs' ring buffer and log. What a guest can provoke at will is
//! logged at a bounded rate; what is left out is counted and said.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use guestreq_common::{
    event::{self, Event},
    message, outcome,
    request::{NO_VM, STAGE_NAMES},
};
use log::{Log, info, warn};
use tokio::{io::unix::AsyncFd, task::JoinHandle};

use super::State;

/// Events that are logged per second.
const PER_SECOND: u32 = 10;

/// The tasks that read; they end when this is dropped.
pub struct Readers(Vec<JoinHandle<()>>);

impl Drop for Readers {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Readers {
    pub fn start(ebpf: &mut Ebpf, state: &Arc<Mutex<State>>) -> Result<Readers> {
        let map = ebpf.take_map("EVENTS").context("no map EVENTS")?;
        let logger = aya_log::EbpfLogger::init(ebpf).context("the programs' log")?;
        // SAFETY: ring buffer and logger own their descriptors, which stay open and the same
        // until they are dropped.
        let (events, logger) =
            unsafe { (AsyncFd::register(RingBuf::try_from(map)?)?, AsyncFd::register(logger)?) };
        Ok(Readers(vec![
            tokio::spawn(read_events(events, Arc::clone(state))),
            tokio::spawn(read_log(logger)),
        ]))
    }
}

async fn read_log(mut logger: AsyncFd<aya_log::EbpfLogger<&'static dyn Log>>) {
    while let Ok(mut guard) = logger.readable_mut().await {
        guard.get_inner_mut().flush();
        guard.clear_ready();
    }
}

async fn read_events(mut events: AsyncFd<RingBuf<MapData>>, state: Arc<Mutex<State>>) {
    let mut limit = Limit::new(Instant::now());
    while let Ok(mut guard) = events.readable_mut().await {
        while let Some(item) = guard.get_inner_mut().next() {
            let Some(event) = decode(&item) else { continue };
            if event.kind == event::Kind::NewVm as u8 {
                // While its process lives: it may not do so for long.
                if let State::Observing(observer) =
                    &mut *state.lock().unwrap_or_else(PoisonError::into_inner)
                {
                    observer.look_for_vms();
                }
                continue;
            }
            match limit.admit(Instant::now()) {
                Some(0) => {}
                Some(left_out) => warn!("{left_out} more events were not logged"),
                None => continue,
            }
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let vm = match &*state {
                State::Observing(observer) => observer.label(event.vm, event.generation),
                State::Waiting { .. } => None,
            };
            info!("{}", describe(&event, vm.as_deref()));
        }
        guard.clear_ready();
    }
}

fn decode(bytes: &[u8]) -> Option<Event> {
    if bytes.len() < size_of::<Event>() {
        return None;
    }
    // SAFETY: as many bytes as an event has, of integers only; alignment does not matter here.
    Some(unsafe { bytes.as_ptr().cast::<Event>().read_unaligned() })
}

fn describe(event: &Event, vm: Option<&str>) -> String {
    let kind = event::Kind::from_number(event.kind).map_or("unknown", event::Kind::name);
    let vm = match vm {
        Some(label) => format!("{label:?}"),
        None if event.vm == NO_VM => format!("of pid {} (no record)", event.tgid),
        None => format!("of pid {}", event.tgid),
    };
    let message = message::Kind::of(event.message_type).name();
    let what = format!(
        "{kind}: VM {vm}, {message} (type {}), VMPCK {}, sequence number {}",
        event.message_type, event.vmpck, event.seqno,
    );
    if is_decision(event.kind) {
        // The PSP has not seen it, or not yet.
        return what;
    }
    let stages: Vec<String> = STAGE_NAMES
        .iter()
        .zip(event.stage_ns)
        .map(|(name, ns)| format!("{name} {:.3?}", Duration::from_nanos(ns)))
        .collect();
    format!("{what}, {} ({}), {}", outcome::name(event.outcome), event.ret, stages.join(", "))
}

/// What was decided, and not how a request went.
fn is_decision(kind: u8) -> bool {
    use event::Kind::{Bypassed, Denied, Throttled, Unthrottled};
    [Bypassed, Denied, Throttled, Unthrottled].iter().any(|decision| *decision as u8 == kind)
}

/// At most [`PER_SECOND`] in a second.
struct Limit {
    second: Instant,
    admitted: u32,
    left_out: u64,
}

impl Limit {
    fn new(now: Instant) -> Limit {
        Limit { second: now, admitted: 0, left_out: 0 }
    }

    /// Whether to log now, and how many were left out since the last one.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.admitted = 0;
        }
        if self.admitted >= PER_SECOND {
            self.left_out += 1;
            return None;
        }
        self.admitted += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_logged_at_a_bounded_rate_and_told() {
        let start = Instant::now();
        let mut limit = Limit::new(start);
        let logged = (0..1000).filter(|_| limit.admit(start).is_some()).count();
        assert_eq!(logged, PER_SECOND as usize);
        assert_eq!(limit.admit(start + Duration::from_secs(1)), Some(990));
        assert_eq!(limit.admit(start + Duration::from_secs(1)), Some(0));
    }

    #[test]
    fn an_event_reads_as_a_sentence() {
        let event = Event {
            kind: event::Kind::Replay as u8,
            message_type: 5,
            vmpck: 2,
            seqno: 41,
            outcome: 0x1d,
            ret: -5,
            stage_ns: [1_000, 2_000_000, 35_000_000],
            ..Event::default()
        };
        assert_eq!(
            describe(&event, Some("web-1")),
            "replay: VM \"web-1\", report (type 5), VMPCK 2, sequence number 41, \
             aead_oflow (-5), vm_lock 1.000µs, psp_queue 2.000ms, psp_service 35.000ms"
        );
    }

    #[test]
    fn a_decision_has_neither_result_nor_times() {
        let event = Event {
            kind: event::Kind::Denied as u8,
            message_type: 7,
            seqno: 3,
            tgid: 9,
            outcome: outcome::DENIED,
            ..Event::default()
        };
        assert_eq!(
            describe(&event, Some("web-1")),
            "denied: VM \"web-1\", export (type 7), VMPCK 0, sequence number 3"
        );
    }

    #[test]
    fn a_short_record_is_none() {
        assert!(decode(&[0; 8]).is_none());
    }
}
