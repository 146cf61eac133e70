//! # Launches
//!
//! From the first command for a guest context, SNP_GCTX_CREATE, to SNP_LAUNCH_FINISH, or to the
//! context's end without it. KVM issues a launch's commands one at a time (`kvm->lock`), each for
//! the VMM's ioctl(2), so a launch's time is the sum of three stages: its commands wait for the PSP,
//! the PSP works on them, and the VMM prepares the next one.
//!
//! All of it is written under `sev_cmd_mutex`, unless marked.

use crate::{
    command::{SNP_GCTX_CREATE, SNP_LAUNCH_FINISH, SNP_LAUNCH_UPDATE},
    histogram::{self, SLOTS, Slots},
    outcome::Outcome,
    request::Running,
    units::{GuestContext, MonotonicNs},
    vm::VmRef,
};

named_enum! {
    /// How far a launch is, or how it ended.
    pub enum LaunchState {
        /// No command of the launch was seen.
        Unseen = 0 => "unseen",
        Running = 1 => "running",
        Finished = 2 => "finished",
        /// A command failed, and the context ended without SNP_LAUNCH_FINISH.
        Failed = 3 => "failed",
        /// The context ended without SNP_LAUNCH_FINISH, though no command had failed.
        Abandoned = 4 => "abandoned",
        /// The same, after the process that launched it had exited.
        ProcessExited = 5 => "process_exited",
    }
}

/// Rows for states in tables; a power of two, so that a mask bounds an index.
pub const LAUNCH_STATES: usize = 8;

pub const LAUNCH_STAGES: usize = 3;
/// Names in the order of [`Launch::stage_ns`].
pub const LAUNCH_STAGE_NAMES: [&str; LAUNCH_STAGES] = ["psp_queue", "psp_service", "vmm"];

/// One launch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// When its first command queued for the PSP.
    pub started: MonotonicNs,
    /// When its latest command returned.
    pub latest: MonotonicNs,
    /// By stage, up to `latest`: their sum is the time between the two.
    pub stage_ns: [u64; LAUNCH_STAGES],
    /// Commands so far, failed ones included.
    pub commands: u64,
    /// Successful SNP_LAUNCH_UPDATEs: pages of memory, and one per vCPU.
    pub pages: u64,
    /// [`LaunchState`]
    pub state: u32,
    /// The last command that failed and did not succeed since; 0: none.
    pub failed_command: u32,
    /// Its [`Outcome`].
    pub failed_outcome: u32,
    /// Nonzero once the process that launched it has exited; also written by another hook and the agent.
    pub process_exited: u32,
    /// Nonzero if its beginning or end was not observed: it took longer than is known.
    pub partial: u32,
    pub reserved: u32,
}

impl Launch {
    #[inline(always)]
    pub const fn is_running(&self) -> bool {
        self.state == LaunchState::Running as u32
    }

    #[inline(always)]
    pub const fn is_unseen(&self) -> bool {
        self.state == LaunchState::Unseen as u32
    }

    /// A launch command has returned: [`crate::command::launches`]. Returns what it adds to each
    /// stage.
    #[inline(always)]
    pub fn add(&mut self, command: &Running, outcome: Outcome) -> [u64; LAUNCH_STAGES] {
        let now = command.ended;
        if self.is_unseen() {
            self.state = LaunchState::Running as u32;
            self.partial = (command.command != SNP_GCTX_CREATE) as u32;
            self.started = command.queued;
            self.latest = command.queued;
        } else if !self.is_running() {
            // After SNP_LAUNCH_FINISH: the firmware refuses it, and it is no part of the launch.
            return [0; LAUNCH_STAGES];
        }
        let elapsed = now.since(self.latest);
        // Clocks of two CPUs may differ: no stage gets more than there is.
        let busy = now.since(command.started);
        let busy = if busy > elapsed { elapsed } else { busy };
        let rest = elapsed - busy;
        let queued = command.started.since(command.queued);
        let queued = if queued > rest { rest } else { queued };
        let stage_ns = [queued, busy, rest - queued];
        for (sum, ns) in self.stage_ns.iter_mut().zip(stage_ns) {
            *sum += ns;
        }
        self.latest = now;
        self.commands += 1;
        if outcome == Outcome::OK {
            self.pages += (command.command == SNP_LAUNCH_UPDATE) as u64;
            if self.failed_command == command.command {
                // The VMM tried again.
                (self.failed_command, self.failed_outcome) = (0, 0);
            }
            if command.command == SNP_LAUNCH_FINISH {
                self.state = LaunchState::Finished as u32;
            }
        } else {
            self.failed_command = command.command;
            self.failed_outcome = outcome.0 as u32;
        }
        stage_ns
    }

    /// Whether SNP_LAUNCH_FINISH ended it at a time.
    #[inline(always)]
    pub const fn ended_at(&self, time: MonotonicNs) -> bool {
        self.state == LaunchState::Finished as u32 && self.latest.0 == time.0
    }

    /// Its guest context ends. Whether that ended the launch. `sends`: the guest has sent requests, so
    /// its launch must have finished unseen.
    #[inline(always)]
    pub fn end(&mut self, sends: bool) -> bool {
        if !self.is_running() {
            return false;
        }
        self.partial |= sends as u32;
        self.state = if sends {
            LaunchState::Finished as u32
        } else if self.failed_command != 0 {
            LaunchState::Failed as u32
        } else if self.process_exited != 0 {
            LaunchState::ProcessExited as u32
        } else {
            LaunchState::Abandoned as u32
        };
        true
    }

    /// From start to its latest command's end.
    #[inline(always)]
    pub const fn duration_ns(&self) -> u64 {
        self.latest.since(self.started)
    }
}

/// Launches kept after their end; a power of two.
pub const HISTORY: u32 = 512;

/// A launch that has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndedLaunch {
    /// Its number among all that have ended, from 1; 0 while the record is written.
    pub number: u64,
    pub launch: Launch,
    pub context: GuestContext,
    pub vm: VmRef,
    /// The process that launched it.
    pub tgid: u32,
    pub reserved: u32,
}

impl EndedLaunch {
    /// The entry of the launch with a number.
    #[inline(always)]
    pub const fn index(number: u64) -> u32 {
        number as u32 & (HISTORY - 1)
    }
}

/// Bounds of the histogram of launches are those of requests times this: 0.5 ms to 20 minutes.
pub const BOUND_SCALE: u64 = 20;

/// All launches of the host.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LaunchTotals {
    /// Ended launches by [`LaunchState`].
    pub ended: [u64; LAUNCH_STATES],
    /// Durations of launches that were observed from start to finish, in slots of [`BOUND_SCALE`].
    pub duration: Slots,
    /// Their sum in ns.
    pub duration_ns: u64,
    /// All launches' times by stage, those that run included.
    pub stage_ns: [u64; LAUNCH_STAGES],
    /// The number of launches that have ended: the latest [`EndedLaunch`]'s.
    pub history: u64,
}

impl LaunchTotals {
    /// Counts a command's part of its launch.
    #[inline(always)]
    pub fn add(&mut self, stage_ns: [u64; LAUNCH_STAGES]) {
        for (sum, ns) in self.stage_ns.iter_mut().zip(stage_ns) {
            *sum += ns;
        }
    }

    /// Counts a launch that has ended, and returns its number.
    #[inline(always)]
    pub fn end(&mut self, launch: &Launch) -> u64 {
        self.ended[launch.state as usize & (LAUNCH_STATES - 1)] += 1;
        if launch.state == LaunchState::Finished as u32 && launch.partial == 0 {
            let ns = launch.duration_ns();
            self.duration[histogram::slot(ns / BOUND_SCALE) & (SLOTS - 1)] += 1;
            self.duration_ns += ns;
        }
        self.history += 1;
        self.history
    }
}

#[cfg(test)]
mod tests;
