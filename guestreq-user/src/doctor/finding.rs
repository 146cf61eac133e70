//! # Findings

use serde::Serialize;

use crate::host::system::Missing;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(rename_all = "lowercase")]
pub enum State {
    Pass,
    /// Something is lost or may not be intended.
    Warn,
    /// A configured function does not work.
    Fail,
    /// Not checked.
    Skip,
}

pub struct Finding {
    pub state: State,
    pub why: String,
    pub fix: Option<String>,
}

impl Finding {
    pub fn pass(why: impl Into<String>) -> Finding {
        Finding { state: State::Pass, why: why.into(), fix: None }
    }

    pub fn warn(why: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { state: State::Warn, why: why.into(), fix: Some(fix.into()) }
    }

    pub fn fail(why: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { state: State::Fail, why: why.into(), fix: Some(fix.into()) }
    }

    /// Not checked; another check reports the cause.
    pub fn skip(why: impl Into<String>) -> Finding {
        Finding { state: State::Skip, why: why.into(), fix: None }
    }

    /// Visible to root only.
    pub fn hidden(what: &str) -> Finding {
        Finding {
            state: State::Skip,
            why: format!("this user cannot see {what}"),
            fix: Some("run with sudo to see".to_owned()),
        }
    }

    /// A prerequisite without which the agent refuses to start.
    pub fn of(met: Result<(), Missing>, passes: impl FnOnce() -> String) -> Finding {
        match met {
            Ok(()) => Finding::pass(passes()),
            Err(Missing { what, fix }) => Finding::fail(what, fix),
        }
    }
}
