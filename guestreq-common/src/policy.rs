//! # Policy: what a VM may ask for
//!
//! One decision function, used by the programs as it is. What it reads of a
//! policy is two words, each of which changes at once.

use crate::{
    gcra::{Admission, Cell, Limit, Turn},
    message::Kind,
};

/// What is done with a decision.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Nothing is decided.
    Observe = 0,
    /// Decided and counted; every request passes.
    Audit = 1,
    Enforce = 2,
}

impl Mode {
    pub const ALL: [Mode; 3] = [Mode::Observe, Mode::Audit, Mode::Enforce];

    pub const fn name(self) -> &'static str {
        match self {
            Mode::Observe => "observe",
            Mode::Audit => "audit",
            Mode::Enforce => "enforce",
        }
    }

    #[inline(always)]
    const fn of(bits: u64) -> Mode {
        match bits & 3 {
            0 => Mode::Observe,
            1 => Mode::Audit,
            _ => Mode::Enforce,
        }
    }
}

/// What carries a decision out.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Nothing: decisions are only counted.
    None = 0,
    /// The gate asks before the PSP is.
    Gate = 1,
    /// A vCPU is kept out of its guest, after its request.
    Vcpu = 2,
}

impl Backend {
    pub const ALL: [Backend; 3] = [Backend::None, Backend::Gate, Backend::Vcpu];

    pub const fn name(self) -> &'static str {
        match self {
            Backend::None => "none",
            Backend::Gate => "gate",
            Backend::Vcpu => "vcpu",
        }
    }
}

#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Admit = 0,
    /// This VM may not send this type.
    Deny = 1,
    /// Over the limit: the guest is to come back.
    Busy = 2,
}

pub const DECISIONS: usize = 4;

impl Decision {
    pub const ALL: [Decision; 3] = [Decision::Admit, Decision::Deny, Decision::Busy];

    pub const fn name(self) -> &'static str {
        match self {
            Decision::Admit => "admit",
            Decision::Deny => "deny",
            Decision::Busy => "busy",
        }
    }
}

/// The kinds of messages that a VM may send, one bit each, by [`Kind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed(pub u16);

impl Allowed {
    /// What Linux guests use. Everything else is the migration family, CPUID (which leaked the
    /// PSP's memory once, CVE-2023-31346), unknown, or SEV-TIO's, which guests send another way
    /// ([`crate::command::TIO_GUEST_REQUEST`]).
    pub const DEFAULT: Allowed =
        Allowed::NONE.with(Kind::Report, true).with(Kind::Key, true).with(Kind::TscInfo, true);
    pub const NONE: Allowed = Allowed(0);

    pub const fn with(self, kind: Kind, allowed: bool) -> Allowed {
        let bit = 1 << kind as u16;
        Allowed(if allowed { self.0 | bit } else { self.0 & !bit })
    }

    pub const fn has(self, kind: Kind) -> bool {
        self.0 >> (kind as u16) & 1 == 1
    }
}

/// Mode, allowed kinds, and the generation of the VM that they were written for, in one word.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules(u64);

impl Rules {
    pub const fn new(mode: Mode, allowed: Allowed, generation: u32) -> Rules {
        Rules(mode as u64 | (allowed.0 as u64) << 16 | (generation as u64) << 32)
    }

    pub const fn from_bits(bits: u64) -> Rules {
        Rules(bits)
    }

    pub const fn to_bits(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub const fn mode(self) -> Mode {
        Mode::of(self.0)
    }

    #[inline(always)]
    pub const fn allowed(self) -> Allowed {
        Allowed((self.0 >> 16) as u16)
    }

    /// Whether a kind is allowed, by its index.
    #[inline(always)]
    pub const fn allows(self, kind: u8) -> bool {
        self.0 >> (16 + (kind & 15)) & 1 == 1
    }

    #[inline(always)]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What holds for one VM, or for the host's VMs that no rule names.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// [`Rules`]
    pub rules: u64,
    /// [`Limit`]
    pub limit: u64,
}

impl Policy {
    pub const fn new(rules: Rules, limit: Limit) -> Policy {
        Policy { rules: rules.to_bits(), limit: limit.to_bits() }
    }

    #[inline(always)]
    pub const fn rules(&self) -> Rules {
        Rules(self.rules)
    }

    #[inline(always)]
    pub const fn limit(&self) -> Limit {
        Limit::from_bits(self.limit)
    }

    /// Whether requests of a kind pass by this policy alone, whatever came before them: [`decide`]
    /// would admit them and leave the limiter's state as it is. False is no refusal.
    #[inline(always)]
    pub const fn passes(&self, kind: u8) -> bool {
        let decides = self.rules().mode() as u8 != Mode::Observe as u8;
        !decides || self.rules().allows(kind) && self.limit().is_off()
    }
}

/// TSC_INFO requests of a VM that no limit holds up: they belong to early boot, where a failure
/// ends it.
pub const FREE_TSC_INFOS: u64 = 4;

/// What is to be known of a request to decide it.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// By [`Kind`].
    pub kind: u8,
    /// In ns of CLOCK_MONOTONIC.
    pub now: u64,
    /// TSC_INFO requests of this VM that were admitted before.
    pub tsc_infos: u64,
    /// The agent has not yet said which policy is this VM's, and is expected to.
    pub unresolved: bool,
    /// It is on its way to the PSP already: it is charged for, and who sent it is to wait.
    pub spent: bool,
}

/// A decision, and what is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub mode: Mode,
    /// The same in audit and enforce.
    pub decision: Decision,
    /// The limiter's state was written by others each time.
    pub contended: bool,
    /// Before when whoever sent it is not to send another, where it is charged for; in ns of
    /// CLOCK_MONOTONIC.
    pub until: u64,
}

impl Verdict {
    /// What becomes of the request.
    #[inline(always)]
    pub const fn effect(&self) -> Decision {
        match self.mode {
            Mode::Enforce => self.decision,
            Mode::Observe | Mode::Audit => Decision::Admit,
        }
    }
}

/// Decides a request, once: in audit and enforce the limiter's state and the turn move on.
#[inline(always)]
pub fn decide<C: Cell, T: Cell>(
    policy: &Policy,
    question: &Question,
    limiter: &C,
    turn: &Turn<'_, T>,
) -> Verdict {
    let rules = policy.rules();
    let verdict = |decision| Verdict { mode: rules.mode(), decision, contended: false, until: 0 };
    if question.unresolved {
        // Whatever its policy will be: nothing is decided by another one's.
        return Verdict { mode: Mode::Enforce, ..verdict(Decision::Busy) };
    }
    if rules.mode() as u8 == Mode::Observe as u8 {
        return verdict(Decision::Admit);
    }
    if !rules.allows(question.kind) {
        return verdict(Decision::Deny);
    }
    if question.kind == Kind::TscInfo as u8 && question.tsc_infos < FREE_TSC_INFOS {
        return verdict(Decision::Admit);
    }
    if question.spent {
        return match policy.limit().take(limiter, question.now) {
            None => verdict(Decision::Admit),
            Some(until) => Verdict { until, ..verdict(Decision::Busy) },
        };
    }
    match policy.limit().ask(limiter, turn, question.now) {
        Admission::Admitted => verdict(Decision::Admit),
        Admission::Early(_) | Admission::NotItsTurn => verdict(Decision::Busy),
        Admission::Contended => Verdict { contended: true, ..verdict(Decision::Busy) },
    }
}

/// How long after its first sight a VM may wait for the agent to say which policy is its.
pub const RESOLVE_NS: u64 = 10_000_000_000;
/// How old the agent's heartbeat may be before nobody waits for it.
pub const HEARTBEAT_NS: u64 = 3_000_000_000;

/// Whether a VM's first requests wait for the agent.
///
/// `waits`: rules name VMs, and some policy enforces. `resolved`: the policy was written for
/// this very VM.
#[inline(always)]
pub const fn is_unresolved(
    waits: bool,
    resolved: bool,
    first_seen: u64,
    heartbeat: u64,
    now: u64,
) -> bool {
    waits
        && !resolved
        && now.saturating_sub(first_seen) < RESOLVE_NS
        && now.saturating_sub(heartbeat) < HEARTBEAT_NS
}

#[cfg(test)]
mod tests;
