//! # What a check found

use serde::Serialize;

use crate::host::system::Missing;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(rename_all = "lowercase")]
pub enum State {
    Pass,
    /// Something is lost, or may not be meant.
    Warn,
    /// What was asked for does not work.
    Fail,
    /// Not looked at.
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

    /// Another check tells what is to be mended.
    pub fn skip(why: impl Into<String>) -> Finding {
        Finding { state: State::Skip, why: why.into(), fix: None }
    }

    /// What only root can see.
    pub fn hidden(what: &str) -> Finding {
        Finding {
            state: State::Skip,
            why: format!("{what} cannot be seen by this user"),
            fix: Some("run with sudo to see".to_owned()),
        }
    }

    /// What the agent would refuse to start for.
    pub fn of(met: Result<(), Missing>, passes: impl FnOnce() -> String) -> Finding {
        match met {
            Ok(()) => Finding::pass(passes()),
            Err(Missing { what, fix }) => Finding::fail(what, fix),
        }
    }
}
