//! # Policy: which requests a VM may send
//!
//! One decision function, which the programs use unchanged. It reads three words of a policy; each
//! changes atomically.

use crate::{
    gate::Weight,
    gcra::{Admission, Arrival, Cell, GcraLimit},
    message::{MessageType, Summary},
    share::{Credit, Debt, PspShare},
    turn::Turn,
    units::MonotonicNs,
    verifier::{forget, reload},
    waiting::{Place, WaitingMessages},
};

named_enum! {
    /// What is done with a decision.
    pub enum Mode {
        /// Nothing is decided.
        Observe = 0 => "observe",
        /// Decided and counted; every request passes.
        Audit = 1 => "audit",
        Enforce = 2 => "enforce",
    }
}

impl Mode {
    #[inline(always)]
    pub const fn is_observe(self) -> bool {
        self as u8 == Mode::Observe as u8
    }

    #[inline(always)]
    pub const fn is_enforce(self) -> bool {
        self as u8 == Mode::Enforce as u8
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

named_enum! {
    /// What enforces decisions.
    pub enum Backend {
        /// Nothing: decisions are only counted.
        None = 0 => "none",
        /// The gate asks before the request reaches the PSP.
        Gate = 1 => "gate",
        /// A vCPU is kept out of its guest after its request.
        Vcpu = 2 => "vcpu",
    }
}

named_enum! {
    /// What backend vcpu does with a vCPU that sent a disallowed type.
    pub enum AfterDenial {
        /// KVM_RUN fails with EAGAIN until the type is allowed: its VM can go on.
        Hold = 0 => "hold",
        /// KVM_RUN fails with EPERM: its VMM gives the VM up.
        Stop = 1 => "stop",
    }
}

named_enum! {
    /// What the policy says for one request.
    pub enum Decision {
        Admit = 0 => "admit",
        /// The VM may not send this message type.
        Deny = 1 => "deny",
        /// Over the limit: the guest must retry.
        Busy = 2 => "busy",
    }
}

/// Columns for decisions in tables; a power of two, so that a mask bounds an index.
pub const DECISIONS: usize = 4;

/// The message types that a VM may send: one bit each, by row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed(pub u16);

impl Allowed {
    /// What Linux guests use. The rest is the migration family, CPUID (which once leaked PSP memory,
    /// CVE-2023-31346), unknown, or SEV-TIO, which guests send another way
    /// ([`crate::command::TIO_GUEST_REQUEST`]).
    pub const DEFAULT: Allowed = Allowed::NONE
        .with(MessageType::Report, true)
        .with(MessageType::Key, true)
        .with(MessageType::TscInfo, true);
    pub const NONE: Allowed = Allowed(0);

    pub const fn with(self, message: MessageType, allowed: bool) -> Allowed {
        let bit = 1 << message as u16;
        Allowed(if allowed { self.0 | bit } else { self.0 & !bit })
    }

    pub const fn has(self, message: MessageType) -> bool {
        self.0 >> (message as u16) & 1 == 1
    }
}

/// Mode, weight in the gate's order, allowed message types and the [`crate::vm::VmRef`] generation
/// they are for, in one word.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules(u64);

impl Rules {
    pub const fn new(mode: Mode, allowed: Allowed, generation: u32) -> Rules {
        Rules(mode as u64 | (allowed.0 as u64) << 16 | (generation as u64) << 32)
    }

    /// The same with this weight.
    pub const fn with_weight(self, weight: Weight) -> Rules {
        Rules(self.0 & !(0xff << 8) | (weight.to_bits() as u64) << 8)
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

    /// [`Weight::to_bits`]
    #[inline(always)]
    pub const fn weight_bits(self) -> u8 {
        (self.0 >> 8) as u8
    }

    pub const fn weight(self) -> Weight {
        Weight::from_bits(self.weight_bits())
    }

    #[inline(always)]
    pub const fn allowed(self) -> Allowed {
        Allowed((self.0 >> 16) as u16)
    }

    /// Whether a message type is allowed, by its row.
    #[inline(always)]
    pub const fn allows(self, row: u8) -> bool {
        self.0 >> (16 + (row & 15)) & 1 == 1
    }

    #[inline(always)]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The policy of one VM, or of all VMs that no rule names.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// [`Rules`]
    pub rules: u64,
    /// [`GcraLimit`]
    pub rate: u64,
    /// [`PspShare`]
    pub share: u64,
}

impl Policy {
    pub const fn new(rules: Rules, rate: GcraLimit, share: PspShare) -> Policy {
        Policy { rules: rules.to_bits(), rate: rate.to_bits(), share: share.to_bits() }
    }

    #[inline(always)]
    pub const fn rules(&self) -> Rules {
        Rules(self.rules)
    }

    #[inline(always)]
    pub const fn rate(&self) -> GcraLimit {
        GcraLimit::from_bits(self.rate)
    }

    #[inline(always)]
    pub const fn share(&self) -> PspShare {
        PspShare::from_bits(self.share)
    }

    /// Whether each request that has the PSP counts towards a share.
    #[inline(always)]
    pub const fn charges(&self) -> bool {
        self.rules().mode().is_enforce() && self.share != 0
    }

    /// What happens to a request of a row if there is no limiter's state to decide by.
    #[inline(always)]
    pub const fn without_state(&self, row: u8) -> Decision {
        if !self.rules().mode().is_enforce() {
            Decision::Admit
        } else if !self.rules().allows(row) {
            Decision::Deny
        } else if self.rate | self.share == 0 {
            Decision::Admit
        } else {
            Decision::Busy
        }
    }

    /// Takes a request of a rate that is the policy's only limit, if one is left and no message
    /// waits: [`decide`] would do the same. False is no refusal, and nothing was taken.
    #[inline(always)]
    pub fn takes_of_rate<C: Cell>(&self, row: u8, rate: &C, now: MonotonicNs) -> bool {
        if self.share != 0 || !self.rules().allows(row) || row == MessageType::TscInfo as u8 {
            return false;
        }
        let old = rate.load();
        match self.rate().admit(old, now.0, 0) {
            Ok(new) => rate.replace(old, new),
            Err(_) => false,
        }
    }

    /// Whether this policy alone admits requests of a row, whatever came before: [`decide`] would
    /// admit them and not touch the limiter's state, nor would they be charged. False is no refusal.
    #[inline(always)]
    pub const fn passes(&self, row: u8) -> bool {
        let decides = !self.rules().mode().is_observe();
        !decides || self.rules().allows(row) && self.rate | self.share == 0
    }
}

/// TSC_INFO requests per VM that no limit delays: a failure in early boot is fatal.
pub const FREE_TSC_INFOS: u64 = 4;

/// The state of a VM's limits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limiter {
    /// The rate limit's; written atomically.
    pub rate: u64,
    pub debt: Debt,
    pub waiting: WaitingMessages,
    /// When its VM was first seen, perhaps before there was a record for it.
    pub first_seen: MonotonicNs,
    /// Of the decision in progress: words that the verifier must not know.
    pub place: Place,
    pub credit: i64,
    pub conforms_for: u64,
    pub message: Summary,
    pub evaluation_bits: u64,
    pub until: MonotonicNs,
}

impl Limiter {
    /// A VM's that is first seen now.
    pub fn new(now: MonotonicNs) -> Limiter {
        Limiter { first_seen: now, ..Limiter::default() }
    }

    /// What the state says about a message, for [`decide`].
    #[inline(always)]
    pub fn examine(&mut self, share: PspShare, message: &Summary, mean_ns: u64, now: MonotonicNs) {
        self.message.copy_from(message);
        let Summary { vmpck, seqno, .. } = self.message();
        self.waiting.place(&mut self.place, vmpck, seqno, now);
        if share.is_off() {
            self.credit = Credit::UNLIMITED.0;
            self.conforms_for = u64::MAX;
            return;
        }
        let reserved_ns = mean_ns.wrapping_mul(reload(&self.place.older));
        self.debt.settle(share, mean_ns, now);
        self.credit = self.debt.credit(share, mean_ns, reserved_ns, now).0;
        self.conforms_for = self.debt.conforms_for(share, mean_ns, reserved_ns, now);
        let half = share.time_to_repay(share.burst(mean_ns) / 2);
        self.place.pushes = (reload(&self.credit) < half as i64) as u64;
    }

    /// Keeps the evaluation of the decision in progress.
    #[inline(always)]
    pub fn set_evaluation(&mut self, it: Evaluation) {
        forget(&mut self.evaluation_bits, it.to_bits());
        forget(&mut self.until, it.until);
    }

    /// The message of the decision in progress: see [`Limiter::evaluation`].
    #[inline(always)]
    pub fn message(&self) -> Summary {
        reload(&self.message)
    }

    /// The evaluation of the decision in progress. The verifier does not know its values, whatever
    /// was learnt from another call.
    #[inline(always)]
    pub fn evaluation(&self) -> Evaluation {
        Evaluation::from_bits(reload(&self.evaluation_bits), reload(&self.until))
    }
}

/// What a decision depends on, beside the policy and the limiter's state.
#[derive(Clone, Copy, Debug)]
pub struct PolicyInput {
    /// [`MessageType`]
    pub row: u8,
    pub now: MonotonicNs,
    /// This VM's TSC_INFO requests admitted so far.
    pub tsc_infos: u64,
    /// The agent has yet to assign this VM's policy.
    pub unresolved: bool,
    /// The request already has the PSP: if the policy enforces, it is charged, and its sender must
    /// wait.
    pub spent: bool,
    /// The message's place among the VM's, and what the VM's share says.
    pub place: Place,
    pub credit: Credit,
    /// For how long the share would have admitted it.
    pub conforms_for: u64,
}

/// A decision and its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evaluation {
    pub mode: Mode,
    /// The same in audit and enforce.
    pub decision: Decision,
    /// Others wrote the limiter's state at each attempt.
    pub contended: bool,
    /// It was over a limit, and admitted only because it had waited so long.
    pub rescued: bool,
    /// Its service time counts towards the VM's share.
    pub charged: bool,
    /// For a request that already has the PSP, the earliest time its sender may send again.
    pub until: MonotonicNs,
}

impl Evaluation {
    /// All but `until` in a word.
    #[inline(always)]
    const fn to_bits(self) -> u64 {
        self.mode as u64
            | (self.decision as u64) << 8
            | (self.contended as u64) << 16
            | (self.rescued as u64) << 17
            | (self.charged as u64) << 18
    }

    #[inline(always)]
    const fn from_bits(bits: u64, until: MonotonicNs) -> Evaluation {
        Evaluation {
            mode: Mode::of(bits),
            decision: match bits >> 8 & 3 {
                0 => Decision::Admit,
                1 => Decision::Deny,
                _ => Decision::Busy,
            },
            contended: bits >> 16 & 1 == 1,
            rescued: bits >> 17 & 1 == 1,
            charged: bits >> 18 & 1 == 1,
            until,
        }
    }

    /// What happens to the request.
    #[inline(always)]
    pub const fn effect(&self) -> Decision {
        match self.mode {
            Mode::Enforce => self.decision,
            Mode::Observe | Mode::Audit => Decision::Admit,
        }
    }
}

/// Decides a request. Called once per request: audit and enforce advance the limits' state and the
/// turn.
#[inline(always)]
pub fn decide<C: Cell, T: Cell>(
    policy: &Policy,
    input: &PolicyInput,
    rate: &C,
    turn: &Turn<'_, T>,
) -> Evaluation {
    let rules = policy.rules();
    let share = policy.share();
    // Audit counts what would be refused, as if it were.
    let spent = input.spent && rules.mode().is_enforce();
    // Not hoisted: the verifier would walk twice as much.
    let decided = |decision| Evaluation {
        mode: rules.mode(),
        decision,
        contended: false,
        rescued: false,
        charged: !share.is_off() && (spent || matches!(decision, Decision::Admit)),
        until: MonotonicNs::NEVER,
    };
    if input.unresolved {
        // Whatever its policy will be: another policy must not decide. This ends ten seconds after
        // the VM's first command.
        let charged = input.spent && !share.is_off();
        return Evaluation { mode: Mode::Enforce, charged, ..decided(Decision::Busy) };
    }
    if rules.mode().is_observe() {
        return Evaluation { charged: false, ..decided(Decision::Admit) };
    }
    if !rules.allows(input.row) {
        return decided(Decision::Deny);
    }
    if input.row == MessageType::TscInfo as u8 && input.tsc_infos < FREE_TSC_INFOS {
        return decided(Decision::Admit);
    }
    let overdue = input.place.is_overdue(input.now);
    if spent || overdue {
        let mut until = policy.rate().take(rate, input.now.0).unwrap_or(0);
        if input.credit.is_over() {
            // Its own service time is not known yet.
            let own = share.time_to_repay(turn.spacing_ns);
            until = until.max(input.now.plus(input.credit.wait_ns()).plus(own).0);
        }
        if overdue {
            return Evaluation { rescued: until != 0, ..decided(Decision::Admit) };
        }
        let decision = if until == 0 { Decision::Admit } else { Decision::Busy };
        return Evaluation { until: MonotonicNs(until), ..decided(decision) };
    }
    if input.credit.is_over() {
        return decided(Decision::Busy);
    }
    let Place { first_refused, older, pushes, .. } = input.place;
    // Where nothing can be refused, there are no turns.
    let (now, takes_turns) = (input.now.0, pushes != 0 && !input.spent);
    let arrival =
        Arrival { now, first_refused, takes_turns, conforms_for: input.conforms_for, older };
    match policy.rate().ask(rate, turn, &arrival) {
        Admission::Admitted => decided(Decision::Admit),
        Admission::Early(_) | Admission::NotItsTurn => decided(Decision::Busy),
        Admission::Contended => Evaluation { contended: true, ..decided(Decision::Busy) },
    }
}

/// How long after its first command a VM may wait for its policy.
pub const RESOLVE_NS: u64 = 10_000_000_000;
/// The agent's heartbeat may be this old before VMs stop waiting for it.
const HEARTBEAT_NS: u64 = 3_000_000_000;

/// Whether a VM's first requests wait for the agent.
///
/// `waits`: rules name VMs, and some policy enforces. `resolved`: the policy is this very VM's.
#[inline(always)]
pub const fn is_unresolved(
    waits: bool,
    resolved: bool,
    first_seen: MonotonicNs,
    heartbeat: MonotonicNs,
    now: MonotonicNs,
) -> bool {
    waits && !resolved && now.since(first_seen) < RESOLVE_NS && now.since(heartbeat) < HEARTBEAT_NS
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod simulation;
