//! # Reading the programs' ring buffer and log

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use guestreq_common::{
    event::{Event, EventKind},
    message,
    outcome::Outcome,
    policy::{Decision, Mode},
};
use log::Log;
use tokio::{io::unix::AsyncFd, task::JoinHandle, time::timeout};

use crate::wire::{
    events::{Decided, Ended, EventData, Message, StageSeconds},
    policy::Named,
};

/// Events taken before other tasks get their turn: a flood does not end.
const BATCH: usize = 512;

/// How often it polls while requests are followed, for which the programs do not wake it: fewer
/// come meanwhile than the ring buffer holds.
const POLL: Duration = Duration::from_millis(50);

/// How often it polls otherwise.
const IDLE_POLL: Duration = Duration::from_millis(200);

/// Receives the programs' events.
pub trait Sink: Clone + Send + Sync + 'static {
    /// Whether somebody follows single requests.
    fn wants_requests(&self) -> bool;
    /// `None` is an event that cannot be decoded.
    fn take(&self, batch: &[Option<Event>]);
    /// The buffer is empty: losses can be reported after the events that it held.
    fn emptied(&self);
}

/// The reading tasks, aborted on drop.
pub struct Readers(Vec<JoinHandle<()>>);

impl Drop for Readers {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Readers {
    pub fn start(ebpf: &mut Ebpf, sink: &impl Sink) -> Result<Readers> {
        let map = ebpf.take_map("EVENTS").context("no map EVENTS")?;
        let logger = aya_log::EbpfLogger::init(ebpf).context("the programs' log")?;
        // SAFETY: ring buffer and logger own their descriptors, which stay open and the same
        // until they are dropped.
        let (events, logger) =
            unsafe { (AsyncFd::register(RingBuf::try_from(map)?)?, AsyncFd::register(logger)?) };
        Ok(Readers(vec![
            tokio::spawn(read_events(events, sink.clone())),
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

async fn read_events(mut events: AsyncFd<RingBuf<MapData>>, sink: impl Sink) {
    loop {
        let poll = if sink.wants_requests() { POLL } else { IDLE_POLL };
        match timeout(poll, events.readable_mut()).await {
            // Before draining: what comes from here on makes it ready again.
            Ok(Ok(mut guard)) => guard.clear_ready(),
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        drain(events.get_mut(), &sink).await;
    }
}

async fn drain(ring: &mut RingBuf<MapData>, sink: &impl Sink) {
    loop {
        let next = || Some(decode(&ring.next()?));
        let batch: Vec<_> = std::iter::from_fn(next).take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        sink.take(&batch);
        if batch.len() < BATCH {
            sink.emptied();
        }
        tokio::task::yield_now().await;
    }
}

fn decode(bytes: &[u8]) -> Option<Event> {
    if bytes.len() < size_of::<Event>() {
        return None;
    }
    // SAFETY: as many bytes as an event has, of integers only; alignment does not matter here.
    Some(unsafe { bytes.as_ptr().cast::<Event>().read_unaligned() })
}

/// `None`: new VMs and launches are reported once the table has named them.
pub fn what(event: &Event) -> Option<EventData> {
    let message = Message {
        message: Named(message::MessageType::of(event.message_type)),
        message_type: event.message_type,
        vmpck: event.vmpck,
        seqno: event.seqno,
    };
    let decided = |message, decision: Decision| Decided {
        message,
        decision: decision.name().into(),
        // Only enforced decisions are reported.
        mode: Named(Mode::Enforce),
    };
    Some(match EventKind::from_number(event.kind)? {
        EventKind::Request => EventData::Request(ended(event, message)),
        EventKind::Slow => EventData::Slow(ended(event, message)),
        EventKind::Replay => EventData::Replay(ended(event, message)),
        EventKind::Gap => EventData::Gap(ended(event, message)),
        EventKind::HostError => EventData::HostError(ended(event, message)),
        EventKind::NewVm | EventKind::Launched => return None,
        EventKind::Denied => EventData::Denied(decided(message, Decision::Deny)),
        EventKind::Throttled => EventData::Throttled(decided(message, Decision::Busy)),
        EventKind::Unthrottled => EventData::Unthrottled(decided(message, Decision::Admit)),
        EventKind::Rescued => EventData::Rescued(decided(message, Decision::Admit)),
        EventKind::Bypassed => EventData::Bypassed(message),
    })
}

fn ended(event: &Event, message: Message) -> Ended {
    let answered = event.outcome.is_answered() && event.outcome != Outcome::BUSY;
    let [vm_lock, psp_queue, psp_service] = event.stage_ns.map(|ns| ns as f64 / 1e9);
    Ended {
        message,
        result: event.outcome.name().into(),
        ret: event.ret,
        stage_seconds: answered.then_some(StageSeconds { vm_lock, psp_queue, psp_service }),
    }
}

#[cfg(test)]
mod tests;
