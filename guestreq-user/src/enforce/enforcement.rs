//! # Whether what is asked for is enforced
//!
//! "Attached" is not "enforcing": an LSM program attaches without error and never
//! fires where `bpf` is not among the kernel's LSMs; a gate may be of another
//! version, be unloaded, or hear another LSM's answer. So it is tried, through
//! the very path that a request takes, at start, each second and at each scrape.

mod reports;
mod self_test;
mod verification;

use std::{mem::offset_of, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use guestreq_common::{
    host::EnforcementRecord as Words,
    policy::{Backend, Mode},
};
use log::warn;
use reports::ReasonThrottle;
use verification::Verification;

use crate::{
    bpf::{
        pins,
        programs::Programs,
        records::{Records, now_ns},
    },
    enforce::{
        gate::{Alone, Gate},
        recent_increase::RecentIncrease,
    },
    host::system,
    observe::journal::Journal,
    wire::{
        events::{self, EventData},
        policy::Named,
    },
};

/// What users see of it.
#[derive(Clone, Debug)]
pub struct Status {
    pub backend: Backend,
    /// The strictest mode that any policy asks for.
    pub mode: Mode,
    /// Decisions are carried out: tried just now, and nothing passed undecided lately.
    pub verified: bool,
    /// Why they are not.
    pub reason: Option<String>,
    /// None where nobody has looked.
    pub bypassed: Option<u64>,
}

pub struct Enforcement {
    backend: Backend,
    mode: Mode,
    gate: Option<Gate>,
    /// Questions that nobody answered, and requests that passed.
    unanswered: RecentIncrease,
    bypassed: RecentIncrease,
    looked: bool,
    tried: Verification,
    news: ReasonThrottle,
    /// Why nothing can be pinned.
    unpinned: Option<String>,
}

impl Enforcement {
    pub fn new(backend: Backend, records: &Records, unpinned: Option<String>) -> Enforcement {
        let mut bypassed = RecentIncrease::default();
        bypassed.forget(records.bypassed());
        Enforcement {
            backend,
            unpinned,
            mode: Mode::Observe,
            gate: None,
            unanswered: RecentIncrease::default(),
            bypassed,
            looked: false,
            tried: Verification::default(),
            news: ReasonThrottle::default(),
        }
    }

    /// What the policies ask for, from now on.
    pub fn require(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Before anything is attached: what is attached beside another version's programs answers the
    /// gate as soon as those go.
    pub fn prepare(&mut self, records: &Records, replaces: bool) {
        records.set_enforcement(offset_of!(Words, heartbeat), now_ns());
        if self.backend == Backend::Gate {
            // That there is none is said when it is tried.
            let _ = self.find_gate(records);
        } else {
            // One that an earlier agent knew is not answered any more.
            records.set_enforcement(offset_of!(Words, gate_file), 0);
            records.set_enforcement(offset_of!(Words, gate_cookie), 0);
            let loaded =
                format!("a gate is loaded that backend {} does not answer", self.backend.name());
            match alone() {
                Alone::NoGate => {}
                Alone::Open => warn!("{loaded}"),
                Alone::Closed => warn!("{loaded}, and refuses every request (closed=Y)"),
                Alone::Unknown(why) => {
                    warn!("whether a gate refuses every request cannot be seen: {why}");
                }
            }
        }
        if replaces {
            // Which request was decided may be missed meanwhile.
            records.set_enforcement(offset_of!(Words, armed_at), 0);
        }
    }

    pub fn status(&self) -> Status {
        let now = Instant::now();
        Status {
            backend: self.backend,
            mode: self.mode,
            verified: self.tried.verified(now),
            reason: self.tried.trouble(now),
            bypassed: Some(self.bypassed.total()),
        }
    }

    /// Why what is asked for is not enforced, if it is not.
    pub fn not_ready(&self) -> Option<String> {
        let now = Instant::now();
        if self.mode != Mode::Enforce || self.tried.verified(now) {
            return None;
        }
        let reason = self.tried.trouble(now).unwrap_or_else(|| "not yet tried".to_owned());
        Some(format!("mode is enforce, but that it is enforced is not verified: {reason}"))
    }

    /// Tries it. Says once what has changed.
    pub fn verify(&mut self, records: &Records, programs: &Programs, journal: &Journal) {
        records.set_enforcement(offset_of!(Words, heartbeat), now_ns());
        let tried = self.try_it(records, programs);
        // Also where there is no gate: that is when something passes.
        let passed = self.count_bypasses(records);
        let result = tried.and(passed);
        let trouble = result.err().map(|error| format!("{error:#}"));
        let verified = trouble.is_none() && self.backend != Backend::None;
        if self.news.is_any(self.mode, trouble.as_deref(), Instant::now()) {
            let backend = Named(self.backend);
            let reason = trouble.clone().or_else(|| self.without().map(str::to_owned));
            let told = events::Enforcement { verified, backend, reason };
            journal.record(EventData::Enforcement(told));
        }
        self.tried = Verification::new(verified, trouble, Instant::now());
        self.arm(records, verified);
    }

    /// Why every request would, or might, be refused, were our program gone.
    pub fn would_be_missed(&self) -> Option<String> {
        if self.backend != Backend::Gate {
            return None;
        }
        match alone() {
            Alone::NoGate | Alone::Open => None,
            Alone::Closed => Some("the gate is closed (closed=Y)".to_owned()),
            Alone::Unknown(why) => Some(format!("the gate may be closed ({why})")),
        }
    }

    /// What becomes of requests when nobody answers the gate any more.
    fn without(&self) -> Option<&'static str> {
        self.gate.as_ref()?;
        match alone() {
            Alone::Open => Some("without programs the gate is open (closed=N)"),
            Alone::Closed => Some("without programs the gate is closed (closed=Y)"),
            Alone::NoGate => None,
            Alone::Unknown(_) => Some("whether the gate is open without programs is not known"),
        }
    }

    /// While it is verified, every request must have been decided before it reaches the PSP. EventData
    /// was expected before stays so: that it no longer works is what is to be noticed.
    fn arm(&self, records: &Records, verified: bool) {
        const ARMED: usize = offset_of!(Words, armed_at);
        let expected = self.mode == Mode::Enforce && self.backend == Backend::Gate;
        if !expected {
            records.set_enforcement(ARMED, 0);
        } else if verified && records.enforcement(ARMED) == 0 {
            records.set_enforcement(ARMED, now_ns());
        }
    }

    fn try_it(&mut self, records: &Records, programs: &Programs) -> Result<()> {
        match self.backend {
            Backend::None => bail!("backend is none"),
            Backend::Gate | Backend::Vcpu => {}
        }
        self_test::check_lsm(programs)?;
        if let Some(reason) = &self.unpinned {
            bail!("{reason}");
        }
        if !programs.outlive_us() {
            pins::file_system(pins::mounted())?;
            bail!(
                "what was pinned at {} was removed, so that enforcement would end with this \
                 agent: it is pinned again within a second",
                pins::ROOT
            );
        }
        if self.backend == Backend::Vcpu {
            return self_test::challenge(records);
        }
        self.find_gate(records)?;
        let gate = self.gate.as_ref().context("no gate")?;
        let nonce = self_test::random()?;
        let answer = gate.ask(nonce)?;
        ensure!(
            answer == "deny" && records.enforcement(offset_of!(Words, self_test)) == nonce,
            "the gate asks, but is answered {answer:?}, not by our program: another LSM stands \
             before it (/sys/kernel/security/lsm)"
        );
        Ok(())
    }

    /// Finds the gate, again if it was loaded anew, and has the programs know it.
    fn find_gate(&mut self, records: &Records) -> Result<()> {
        if self.gate.as_ref().is_some_and(Gate::is_loaded) {
            return Ok(());
        }
        self.gate = None;
        let found = Gate::find();
        let (file, cookie) = found.as_ref().map_or((0, 0), |gate| (gate.file, gate.cookie));
        const FILE: usize = offset_of!(Words, gate_file);
        const COOKIE: usize = offset_of!(Words, gate_cookie);
        // One that an earlier agent found is not forgotten for a moment.
        if (records.enforcement(FILE), records.enforcement(COOKIE)) != (file, cookie) {
            // No file is known while the number belongs to another.
            records.set_enforcement(FILE, 0);
            records.set_enforcement(COOKIE, cookie);
            records.set_enforcement(FILE, file);
        }
        let gate = found?;
        self.unanswered.begin(gate.unanswered()?);
        self.gate = Some(gate);
        Ok(())
    }

    /// Whether something passed since the last look, or not long ago.
    fn count_bypasses(&mut self, records: &Records) -> Result<()> {
        let bypassed = records.bypassed();
        let first = !std::mem::replace(&mut self.looked, true);
        let now = Instant::now();
        if first {
            // What passed before our programs were attached is not theirs.
            self.bypassed.forget(bypassed);
        }
        self.bypassed.look(bypassed, now);
        if let Some(gate) = &self.gate {
            let unanswered = gate.unanswered()?;
            if first {
                self.unanswered.forget(unanswered);
            }
            self.unanswered.look(unanswered, now);
        }
        for (lapse, what) in [
            (&self.bypassed, "requests that passed and should not have"),
            (&self.unanswered, "questions of the gate that our program did not answer"),
        ] {
            if let Some(count) = lapse.lately(now) {
                bail!("{what}: {count}, the last one less than a minute ago");
            }
        }
        Ok(())
    }
}

/// What the gate that is loaded would do without us.
fn alone() -> Alone {
    Alone::of(system::host())
}
