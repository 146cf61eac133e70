//! # Conditions of a host
//!
//! What `guestreq condition`, and with it Node Problem Detector, derives from the agent's answer to
//! `GET /v1/agent`: it cannot contradict `guestreq doctor` or /readyz.

use guestreq_common::policy::Mode;
use serde::{Deserialize, Serialize};

use super::{
    policy::{Enforcement, Name, Named},
    status::{Agent, PspState},
};

/// `guestreq condition -o json`
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Conditions {
    /// `ready`, `enforcing` and `psp-dead`, or the one that was asked for.
    pub conditions: Vec<Condition>,
}

/// Whether something of a host is a problem.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Condition {
    /// `ready`, `enforcing` or `psp-dead`.
    pub condition: Named<Subject>,
    /// Null if it is unknown, such as without an agent.
    pub problem: Option<bool>,
    /// In one line.
    pub why: String,
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// As /readyz.
    Ready,
    /// A policy wants enforcement, which is not verified.
    Enforcing,
    /// The PSP does not answer.
    PspDead,
}

impl Name for Subject {
    const WHAT: &'static str = "condition";
    const ALL: &'static [Subject] = &Subject::ALL;
    fn name(self) -> &'static str {
        match self {
            Subject::Ready => "ready",
            Subject::Enforcing => "enforcing",
            Subject::PspDead => "psp-dead",
        }
    }
}

impl Subject {
    pub const ALL: [Subject; 3] = [Subject::Ready, Subject::Enforcing, Subject::PspDead];

    /// By what an agent answered.
    pub fn of(self, agent: &Agent) -> Condition {
        let (problem, why) = match self {
            Subject::Ready => match &agent.reason {
                None => (Some(false), "observing".to_owned()),
                Some(reason) => (Some(true), reason.clone()),
            },
            Subject::Enforcing => enforcing(&agent.enforcement),
            Subject::PspDead => match &agent.psp {
                None => (None, "the agent does not observe the PSP".to_owned()),
                Some(PspState { dead: false, .. }) => (Some(false), "no sign of it".to_owned()),
                Some(PspState { reason, .. }) => {
                    (Some(true), reason.clone().unwrap_or_else(|| "it does not answer".to_owned()))
                }
            },
        };
        Condition { condition: Named(self), problem, why }
    }

    /// Without an agent's answer.
    pub fn unknown(self, why: &str) -> Condition {
        Condition { condition: Named(self), problem: None, why: why.to_owned() }
    }
}

fn enforcing(status: &Enforcement) -> (Option<bool>, String) {
    match (&status.reason, status.enforces()) {
        _ if status.mode.0 != Mode::Enforce => {
            (Some(false), format!("mode {}: nothing is to be enforced", status.mode))
        }
        (_, true) => (Some(false), format!("verified, backend {}", status.backend)),
        (Some(reason), false) => (Some(true), format!("not enforced: {reason}")),
        (None, false) => (Some(true), "not enforced: not yet verified".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn agent(changes: &[(&str, Value)]) -> Agent {
        let mut agent = json!({
            "version": "1", "pid": 7, "ready": true, "reason": null, "maps": [], "holder": null,
            "enforcement": {"backend": "gate", "mode": "enforce", "verified": true, "reason": null,
                            "bypassed": 0},
            "unread_vms": 0, "psp": {"dead": false, "reason": null},
        });
        for (path, value) in changes {
            *agent.pointer_mut(path).unwrap() = value.clone();
        }
        serde_json::from_value(agent).unwrap()
    }

    fn of(subject: Subject, changes: &[(&str, Value)]) -> (Option<bool>, String) {
        let Condition { problem, why, .. } = subject.of(&agent(changes));
        (problem, why)
    }

    #[test]
    fn a_condition_is_a_problem_for_one_reason() {
        for subject in Subject::ALL {
            assert_eq!(of(subject, &[]).0, Some(false), "{subject:?}");
        }
        let reason = ("/reason", json!("no kprobe"));
        assert_eq!(of(Subject::Ready, &[reason]), (Some(true), "no kprobe".to_owned()));
        let unverified = ("/enforcement/verified", json!(false));
        let why = of(Subject::Enforcing, std::slice::from_ref(&unverified));
        assert_eq!(why, (Some(true), "not enforced: not yet verified".to_owned()));
        let audit = ("/enforcement/mode", json!("audit"));
        assert_eq!(of(Subject::Enforcing, &[unverified, audit]).0, Some(false), "nobody wants it");
        let dead = ("/psp", json!({"dead": true, "reason": "stuck"}));
        assert_eq!(of(Subject::PspDead, &[dead]), (Some(true), "stuck".to_owned()));
        assert_eq!(of(Subject::PspDead, &[("/psp", Value::Null)]).0, None, "not observed");
    }

    #[test]
    fn an_older_agent_says_nothing_of_the_psp() {
        let mut old = serde_json::to_value(agent(&[])).unwrap();
        old.as_object_mut().unwrap().remove("psp");
        let old: Agent = serde_json::from_value(old).unwrap();
        assert_eq!(Subject::PspDead.of(&old).problem, None);
    }
}
