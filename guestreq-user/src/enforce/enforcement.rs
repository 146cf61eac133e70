//! # Whether decisions are enforced
//!
//! "Attached" is not "enforcing": an LSM program attaches without error but never fires unless
//! `bpf` is among the kernel's LSMs; a gate may be of another version, be unloaded, or get another
//! LSM's answer. So a self-test takes the path of a request at start, each second and at each
//! scrape.

mod introduction;
mod reports;
mod self_test;
mod verification;

use std::{mem::offset_of, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use guestreq_common::{
    host::EnforcementRecord,
    policy::{AfterDenial, Backend, Mode},
};
use introduction::introduce;
use log::warn;
use reports::ReasonThrottle;
use verification::Verification;

use crate::{
    bpf::{
        pins,
        programs::Programs,
        records::{Records, now_ns},
    },
    config::Config,
    enforce::{
        denial::after_denial,
        gate::{Alone, Gate},
        recent_increase::RecentIncrease,
    },
    host::system,
    observe::journal::Journal,
    wire::{
        events::{self, EventData},
        policy::{self, Named},
    },
};

/// Enforcement as users see it.
#[derive(Clone, Debug)]
pub struct Status {
    pub backend: Backend,
    /// Only with backend vcpu.
    pub after_denial: Option<AfterDenial>,
    /// The strictest mode of any policy.
    pub mode: Mode,
    /// The self-test just passed, and no request bypassed enforcement in the last minute.
    pub verified: bool,
    /// Why it is not verified.
    pub reason: Option<String>,
    /// Requests that bypassed enforcement; `None` if nothing is observed.
    pub bypassed: Option<u64>,
}

impl From<Status> for policy::Enforcement {
    fn from(status: Status) -> policy::Enforcement {
        policy::Enforcement {
            backend: Named(status.backend),
            vcpu_denied: status.after_denial.map(Named),
            mode: Named(status.mode),
            verified: status.verified,
            reason: status.reason,
            bypassed: status.bypassed,
        }
    }
}

pub struct Enforcement {
    backend: Backend,
    after_denial: AfterDenial,
    mode: Mode,
    gate: Option<Gate>,
    /// Queries of the gate that our program did not answer.
    unanswered: RecentIncrease,
    bypassed: RecentIncrease,
    /// Bypasses were counted before.
    counted: bool,
    last: Verification,
    throttle: ReasonThrottle,
    /// Why nothing can be pinned.
    unpinned: Option<String>,
}

impl Enforcement {
    pub fn new(config: &Config, records: &Records, unpinned: Option<String>) -> Enforcement {
        let mut bypassed = RecentIncrease::default();
        bypassed.reset(records.bypassed());
        Enforcement {
            backend: config.backend.0,
            after_denial: config.vcpu_denied.0,
            unpinned,
            mode: Mode::Observe,
            gate: None,
            unanswered: RecentIncrease::default(),
            bypassed,
            counted: false,
            last: Verification::default(),
            throttle: ReasonThrottle::default(),
        }
    }

    /// Tells the programs what follows a denial, which like policies an earlier agent decides until
    /// this one is sure to start.
    pub fn apply(&self, records: &Records) {
        let after = self.after_denial as u64;
        records.set_enforcement(offset_of!(EnforcementRecord, after_denial), after);
    }

    /// Sets the strictest mode of the policies.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Called before attaching: programs attached beside another version's answer the gate as soon
    /// as those are removed.
    pub fn prepare(&mut self, records: &Records, replaces: bool) {
        records.set_enforcement(offset_of!(EnforcementRecord, heartbeat), now_ns());
        if self.backend == Backend::Gate {
            // The self-test reports a missing gate.
            let _ = self.find_gate(records);
        } else {
            // The programs no longer answer a gate that an earlier agent found.
            records.set_enforcement(offset_of!(EnforcementRecord, gate_file), 0);
            records.set_enforcement(offset_of!(EnforcementRecord, gate_cookie), 0);
            let loaded =
                format!("a gate is loaded, which backend {} does not answer", self.backend.name());
            match alone() {
                Alone::NoGate => {}
                Alone::Open => warn!("{loaded}"),
                Alone::Closed => warn!("{loaded}, and refuses every request (closed=Y)"),
                Alone::Unknown(why) => {
                    warn!("cannot tell whether a gate refuses every request: {why}");
                }
            }
        }
        if replaces {
            // Decisions may be missed during the replacement.
            records.set_enforcement(offset_of!(EnforcementRecord, armed_at), 0);
        }
    }

    pub fn status(&self) -> Status {
        let now = Instant::now();
        Status {
            backend: self.backend,
            after_denial: after_denial(self.backend, self.after_denial),
            mode: self.mode,
            verified: self.last.verified(now),
            reason: self.last.failure(now),
            bypassed: Some(self.bypassed.total()),
        }
    }

    /// Why a policy asks for enforcement but it is not verified.
    pub fn not_ready(&self) -> Option<String> {
        let now = Instant::now();
        if self.mode != Mode::Enforce || self.last.verified(now) {
            return None;
        }
        let reason = self.last.failure(now).unwrap_or_else(|| "not yet tested".to_owned());
        Some(format!("mode is enforce, but enforcement is not verified: {reason}"))
    }

    /// Runs the self-test and reports changes.
    pub fn verify(&mut self, records: &Records, programs: &Programs, journal: &Journal) {
        records.set_enforcement(offset_of!(EnforcementRecord, heartbeat), now_ns());
        let tested = self.self_test(records, programs);
        // Even if that fails: without a gate, requests bypass enforcement.
        let bypasses = self.count_bypasses(records);
        let failure = tested.and(bypasses).err().map(|error| format!("{error:#}"));
        let verified = failure.is_none() && self.backend != Backend::None;
        if self.throttle.is_due(self.mode, failure.as_deref(), Instant::now()) {
            let backend = Named(self.backend);
            let reason = failure.clone().or_else(|| self.gate_alone().map(str::to_owned));
            let event = events::EnforcementChanged { verified, backend, reason };
            journal.record(EventData::Enforcement(event));
        }
        self.last = Verification::new(verified, failure, Instant::now());
        self.arm(records, verified);
    }

    /// Why every request would, or might, be refused without our program.
    pub fn detach_would_deny(&self) -> Option<String> {
        if self.backend != Backend::Gate {
            return None;
        }
        match alone() {
            Alone::NoGate | Alone::Open => None,
            Alone::Closed => Some("the gate is closed (closed=Y)".to_owned()),
            Alone::Unknown(why) => Some(format!("the gate may be closed ({why})")),
        }
    }

    /// What the gate does when no program answers it.
    fn gate_alone(&self) -> Option<&'static str> {
        self.gate.as_ref()?;
        match alone() {
            Alone::Open => Some("without programs the gate is open (closed=N)"),
            Alone::Closed => Some("without programs the gate is closed (closed=Y)"),
            Alone::NoGate => None,
            Alone::Unknown(_) => Some("unknown whether the gate is open without programs"),
        }
    }

    /// Once verified, the programs count each request that reaches the PSP undecided. A failed
    /// self-test does not disarm that: such requests are what is to be noticed.
    fn arm(&self, records: &Records, verified: bool) {
        const ARMED: usize = offset_of!(EnforcementRecord, armed_at);
        let expected = self.mode == Mode::Enforce && self.backend == Backend::Gate;
        if !expected {
            records.set_enforcement(ARMED, 0);
        } else if verified && records.enforcement(ARMED) == 0 {
            records.set_enforcement(ARMED, now_ns());
        }
    }

    fn self_test(&mut self, records: &Records, programs: &Programs) -> Result<()> {
        match self.backend {
            Backend::None => bail!("backend is none"),
            Backend::Gate | Backend::Vcpu => {}
        }
        self_test::check_lsm(programs)?;
        if let Some(reason) = &self.unpinned {
            bail!("{reason}");
        }
        if !programs.are_pinned() {
            pins::file_system(pins::mounted())?;
            bail!(
                "the pins at {} were removed, so enforcement would end with this agent: it pins \
                 again within a second",
                pins::ROOT
            );
        }
        if self.backend == Backend::Vcpu {
            return self_test::challenge(records);
        }
        self.find_gate(records)?;
        let gate = self.gate.as_ref().context("no gate")?;
        let nonce = self_test::random()?;
        let answer = gate.self_test(nonce)?;
        ensure!(
            answer == "deny"
                && records.enforcement(offset_of!(EnforcementRecord, self_test)) == nonce,
            "the gate got the answer {answer:?}, but not from our program: another LSM answers \
             first (/sys/kernel/security/lsm)"
        );
        Ok(())
    }

    /// Finds the gate, again if it was reloaded, and tells the programs its file and cookie.
    fn find_gate(&mut self, records: &Records) -> Result<()> {
        if self.gate.as_ref().is_some_and(Gate::is_loaded) {
            return Ok(());
        }
        self.gate = None;
        let found = Gate::find();
        introduce(records, found.as_ref().ok());
        let gate = found?;
        self.unanswered.rebase(gate.unanswered()?);
        self.gate = Some(gate);
        Ok(())
    }

    /// Fails if a request bypassed enforcement in the last minute.
    fn count_bypasses(&mut self, records: &Records) -> Result<()> {
        let bypassed = records.bypassed();
        let first = !std::mem::replace(&mut self.counted, true);
        let now = Instant::now();
        if first {
            // Bypasses before our programs were attached do not count.
            self.bypassed.reset(bypassed);
        }
        self.bypassed.update(bypassed, now);
        if let Some(gate) = &self.gate {
            let unanswered = gate.unanswered()?;
            if first {
                self.unanswered.reset(unanswered);
            }
            self.unanswered.update(unanswered, now);
        }
        for (failures, what) in [
            (&self.bypassed, "requests that bypassed enforcement"),
            (&self.unanswered, "queries of the gate that our program did not answer"),
        ] {
            if let Some(count) = failures.recent(now) {
                bail!("{what}: {count}, the last one less than a minute ago");
            }
        }
        Ok(())
    }
}

/// What a loaded gate does without our programs.
fn alone() -> Alone {
    Alone::of(system::host())
}
