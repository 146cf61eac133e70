//! # A launch that has ended, and what launches do

use std::borrow::Cow;

use guestreq_common::{
    launch::{self, LaunchState},
    outcome::Outcome,
};
use serde::{Deserialize, Serialize};

use crate::text::command_name;

/// A launch that has ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Launched {
    /// `finished`; `failed`: a command failed, and the guest context ended; `abandoned`: it ended
    /// although no command had failed; `process_exited`: the same, after its process had exited.
    pub result: Cow<'static, str>,
    /// From its first command to the end of its last one.
    pub seconds: f64,
    /// The end of its guest context was not seen: its process has exited, and no command came for
    /// 60 s.
    #[serde(default)]
    pub inferred: bool,
    #[serde(flatten)]
    pub work: Work,
}

/// What a launch did.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Work {
    /// Including those that failed.
    pub commands: u64,
    /// Pages of memory that the PSP encrypted and measured, and one per vCPU.
    pub pages: u64,
    pub stage_seconds: LaunchStages,
    /// True if it began before guestreq observed it, and so took longer; absent if not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub partial: bool,
    /// The last command that failed and did not succeed since; absent if none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_command: Option<String>,
    /// Its result: the firmware's status, or `host_error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_result: Option<String>,
    /// Who else used the PSP most during the launch, at most three; absent if the agent did not see
    /// the launch run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psp_used_by: Option<Vec<PspUser>>,
}

/// Where a launch spent its time, up to the end of its last command.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LaunchStages {
    /// Its commands waited for the PSP.
    pub psp_queue: f64,
    /// The PSP worked on them.
    pub psp_service: f64,
    /// The VMM prepared the next one.
    pub vmm: f64,
}

impl LaunchStages {
    pub fn sum(&self) -> f64 {
        self.psp_queue + self.psp_service + self.vmm
    }

    /// The share of time that commands waited for the PSP, 0 to 1.
    pub fn waiting_share(&self) -> f64 {
        if self.sum() > 0.0 { self.psp_queue / self.sum() } else { 0.0 }
    }
}

/// Another user of the PSP.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PspUser {
    /// A VM's label; null for commands of no VM, and of VMs that have no name or no record any more.
    pub vm: Option<String>,
    /// The PSP's time that it used during the launch.
    pub seconds: f64,
}

impl Launched {
    /// `users`: the PSP's time in ns by VM.
    pub fn of(launch: &launch::Launch, users: Option<Vec<(Option<String>, u64)>>) -> Launched {
        Launched {
            result: state_name(launch).into(),
            seconds: seconds(launch.duration_ns()),
            inferred: false,
            work: Work::of(launch, users),
        }
    }

    pub fn is_finished(&self) -> bool {
        self.result == LaunchState::Finished.name()
    }
}

impl Work {
    pub fn of(launch: &launch::Launch, users: Option<Vec<(Option<String>, u64)>>) -> Work {
        let [psp_queue, psp_service, vmm] = launch.stage_ns.map(seconds);
        let failed = (launch.failed_command != 0).then_some(launch.failed_command);
        let outcome = Outcome(launch.failed_outcome as u8).name();
        let user = |(vm, ns)| PspUser { vm, seconds: seconds(ns) };
        Work {
            commands: launch.commands,
            pages: launch.pages,
            stage_seconds: LaunchStages { psp_queue, psp_service, vmm },
            partial: launch.partial != 0,
            failed_command: failed.map(command_name),
            failed_result: failed.map(|_| outcome.to_owned()),
            psp_used_by: users.map(|users| users.into_iter().map(user).collect()),
        }
    }

    /// The command that failed, and how.
    pub fn failure(&self) -> Option<String> {
        let (command, result) = (self.failed_command.as_ref()?, self.failed_result.as_ref()?);
        Some(format!("{command}: {result}"))
    }
}

/// A launch's state by name.
pub fn state_name(launch: &launch::Launch) -> &'static str {
    let state = LaunchState::ALL.get(launch.state as usize);
    state.copied().unwrap_or(LaunchState::Unseen).name()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(it: &bool) -> bool {
    !it
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
