//! # A host in which VMs push within their shares
//!
//! One PSP that serves whoever asked first, VMs that send in a loop and come back some time after
//! BUSY, and one that is not limited and sends now and then.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::atomic::AtomicU64,
};

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::*;
use crate::{message::Summary, units::GuestContext};

const MS: u64 = 1_000_000;

/// What happens next to a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Sends,
    IsAnswered,
}

struct Host {
    vms: usize,
    share: PspShare,
    service_ns: u64,
    /// How long a guest waits after BUSY.
    retry_ns: u64,
    seconds: u64,
}

#[derive(Debug)]
struct Seen {
    /// How long the unlimited VM's requests took, sorted.
    quiet: Vec<u64>,
    /// Each VM's share of the PSP; the first is the unlimited one's, and not measured.
    used: Vec<f64>,
}

impl Seen {
    fn quantile(&self, percent: usize) -> u64 {
        self.quiet[(self.quiet.len() - 1) * percent / 100]
    }
}

struct Guest {
    limiter: Limiter,
    rate: AtomicU64,
    seqno: u64,
    sent: u64,
}

impl Host {
    /// VM 0 is the one without a limit.
    fn run(&self) -> Seen {
        let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut random = move |below: u64| random.next_u64() % below.max(1);
        let mut guests: Vec<Guest> = (0..=self.vms)
            .map(|_| Guest {
                limiter: Limiter::default(),
                rate: AtomicU64::new(0),
                seqno: 1,
                sent: 0,
            })
            .collect();
        let [next, last_refused, holder] = [(); 3].map(|()| AtomicU64::new(0));
        let policy =
            Policy::new(Rules::new(Mode::Enforce, Allowed::DEFAULT, 1), GcraLimit::OFF, self.share);
        let mut events = BinaryHeap::new();
        for vm in 0..=self.vms {
            events.push(Reverse((1_000 * MS + random(200 * MS), Next::Sends, vm)));
        }
        let end = 1_000 * MS + self.seconds * 1_000 * MS;
        let warm = 1_000 * MS + self.seconds * 250 * MS;
        let mut queue = VecDeque::new();
        let mut seen = Seen { quiet: Vec::new(), used: vec![0.0; self.vms + 1] };
        while let Some(Reverse((now, what, vm))) = events.pop() {
            if now > end {
                break;
            }
            let guest = &mut guests[vm];
            let at = MonotonicNs(now);
            match what {
                Next::Sends => {
                    guest.sent = now;
                    let row = MessageType::Report as u8;
                    if vm != 0 {
                        let message =
                            Summary { row, vmpck: 0, seqno: guest.seqno, ..Summary::UNKNOWN };
                        let turn = Turn {
                            next: &next,
                            last_refused: &last_refused,
                            holder: &holder,
                            context: GuestContext(vm as u64),
                            spacing_ns: self.service_ns,
                        };
                        guest.limiter.examine(self.share, &message, self.service_ns, at);
                        let input = PolicyInput {
                            row,
                            now: at,
                            tsc_infos: FREE_TSC_INFOS,
                            unresolved: false,
                            spent: false,
                            place: guest.limiter.place,
                            credit: Credit(guest.limiter.credit),
                            conforms_for: guest.limiter.conforms_for,
                        };
                        let it = super::decide(&policy, &input, &guest.rate, &turn);
                        if it.decision == Decision::Busy {
                            guest.limiter.waiting.refuse(0, guest.seqno, at);
                            events.push(Reverse((
                                now + self.retry_ns + random(2 * MS),
                                Next::Sends,
                                vm,
                            )));
                            continue;
                        }
                        guest.limiter.waiting.serve(0);
                    }
                    queue.push_back(vm);
                    if queue.len() > 1 {
                        continue;
                    }
                }
                Next::IsAnswered => {
                    queue.pop_front();
                    if vm == 0 {
                        if now > warm {
                            seen.quiet.push(now - guest.sent);
                        }
                        let next = guest.sent + 190 * MS + random(20 * MS);
                        events.push(Reverse((next.max(now), Next::Sends, vm)));
                    } else {
                        guest.limiter.debt.charge(self.share, self.service_ns, self.service_ns, at);
                        guest.seqno += 2;
                        if now > warm {
                            seen.used[vm] += self.service_ns as f64 / (end - warm) as f64;
                        }
                        events.push(Reverse((now + MS / 2 + random(MS / 2), Next::Sends, vm)));
                    }
                }
            }
            if let Some(&vm) = queue.front() {
                let service = self.service_ns * 95 / 100 + random(self.service_ns / 10);
                events.push(Reverse((now + service, Next::IsAnswered, vm)));
            }
        }
        seen.quiet.sort_unstable();
        seen
    }
}

/// 16 VMs with 5 % each, which leave a fifth of the PSP.
fn beside_16(retry_ns: u64) -> Seen {
    let share = PspShare::new(50_000, 0).unwrap();
    Host { vms: 16, share, service_ns: SERVICE_NS, retry_ns, seconds: 200 }.run()
}

const SERVICE_NS: u64 = 10 * MS;

#[test]
fn vms_that_push_come_one_at_a_time_and_yet_use_their_shares() {
    for retry in [20 * MS, 200 * MS] {
        let seen = beside_16(retry);
        assert!(seen.quantile(50) <= 2 * SERVICE_NS && seen.quantile(99) <= 3 * SERVICE_NS);
        for share in &seen.used[1..] {
            assert!((0.049..=0.051).contains(share), "{share}");
        }
    }
}

#[test]
fn guests_that_return_after_two_seconds_use_their_bursts_instead() {
    let seen = beside_16(2_000 * MS);
    assert!(seen.quantile(50) <= 3 * SERVICE_NS && seen.quantile(99) <= 16 * SERVICE_NS);
    for share in &seen.used[1..] {
        assert!((0.045..=0.051).contains(share), "{share}");
    }
}
