//! # A hostile VMM
//!
//! KVM lets every process run a vCPU that shares memory with the VM's creator. Each technique here
//! runs KVM_RUN in another thread or process than before, or removes what identifies the VM. The
//! guest's requests do not change.

mod confine;
pub mod cue;
pub mod forge;
mod fork;
pub mod kick;
pub mod leader;
mod process;
mod stack;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use self::{cue::Cue, forge::Forger, kick::Kicks, process::Parked};
use crate::cli::Behavior;

/// The result of a KVM_RUN: the exit reason or an errno.
pub type Entered = Result<u32, i32>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Technique {
    /// Each KVM_RUN in a new process that shares memory and files, and exits
    Child,
    /// The same, but the processes keep running
    Parked,
    /// The main thread exits, new threads run vCPUs (implies --processes)
    LeaderExits,
    /// Each KVM_RUN by another thread or process than the last, often in the middle of a request
    Hops,
    /// Before each KVM_RUN a forked process tries it, which KVM must refuse
    Fork,
    /// Each vCPU's thread first denies itself all that Landlock can
    Confined,
    /// The VM is launched by a process that shares memory and files, and has exited when it runs
    Launcher,
}

/// How a vCPU's KVM_RUNs are done, and under which name.
pub struct Attack {
    technique: Option<Technique>,
    forger: Option<Forger>,
    kicks: Option<Kicks>,
    parked: Vec<Parked>,
    cue: Cue,
    turn: usize,
}

impl Attack {
    /// None without an attack.
    pub fn new(behavior: &Behavior) -> Result<Option<Self>> {
        let Behavior { attack: technique, forge, .. } = behavior;
        let technique = technique.filter(|technique| *technique != Technique::Launcher);
        if technique.is_none() && forge.is_empty() {
            return Ok(None);
        }
        let forger = (!forge.is_empty()).then(|| Forger::new(forge)).transpose()?;
        if technique == Some(Technique::Confined) {
            confine::confine()?;
        }
        let kicks = (technique == Some(Technique::Hops)).then(Kicks::start).transpose()?;
        let cue = Cue::new(behavior.cue.as_ref());
        Ok(Some(Self { technique, forger, kicks, parked: Vec::new(), cue, turn: 0 }))
    }

    /// Does a KVM_RUN with the technique.
    pub fn enter(&mut self, kvm_run: &mut (dyn FnMut() -> Entered + Send)) -> Result<Entered> {
        let (turn, forger) = (self.turn, self.forger.as_ref());
        // every other one completes, so that the guest makes progress
        let kicks = self.kicks.as_ref().filter(|_| turn.is_multiple_of(2));
        self.turn += 1;
        let name = forger.and_then(|_| self.cue.number()).unwrap_or(turn);
        // called by the thread or process that runs the vCPU
        let mut work = || {
            if let Some(forger) = forger {
                forger.take_name(name);
            }
            match kicks {
                Some(kicks) => kicks.aim_while(&mut *kvm_run),
                None => kvm_run(),
            }
        };
        match self.technique {
            None | Some(Technique::Confined | Technique::Launcher) => Ok(work()),
            Some(Technique::LeaderExits) => in_thread(work),
            Some(Technique::Child) => process::sharing(work),
            Some(Technique::Parked) => {
                let (parked, entered) = process::parked(work)?;
                self.parked.push(parked);
                Ok(entered)
            }
            Some(Technique::Hops) => match turn % 3 {
                0 => process::sharing(work),
                1 => in_thread(work),
                _ => Ok(work()),
            },
            Some(Technique::Fork) => match fork::forked(&mut *kvm_run)? {
                Err(libc::EIO) => Ok(kvm_run()),
                other => bail!("KVM let a process with its own memory run a vCPU: {other:?}"),
            },
        }
    }
}

fn in_thread(work: impl FnOnce() -> Entered + Send) -> Result<Entered> {
    std::thread::scope(|threads| {
        let thread = std::thread::Builder::new().name("hop".into()).stack_size(128 << 10);
        let thread = thread.spawn_scoped(threads, work).context("no thread to hop to")?;
        thread.join().map_err(|_| anyhow::anyhow!("a thread that ran a vCPU panicked"))
    })
}

/// Creates a VM, for Launcher in a process that has exited when this returns.
pub fn launch<T>(behavior: &Behavior, launch: impl FnOnce() -> Result<T>) -> Result<T> {
    if behavior.attack != Some(Technique::Launcher) {
        return launch();
    }
    let forger = (!behavior.forge.is_empty()).then(|| Forger::new(&behavior.forge)).transpose()?;
    process::sharing(|| {
        if let Some(forger) = &forger {
            forger.take_name(0);
        }
        launch()
    })?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Options;
    use clap::Parser;

    fn attack(args: &[&str]) -> Option<Attack> {
        let options = Options::try_parse_from([&["snpload"], args].concat()).unwrap();
        Attack::new(&options.complete().behavior).unwrap()
    }

    /// Process and thread of each run.
    fn runners(technique: &str, runs: usize) -> Vec<(u32, i32)> {
        let mut attack = attack(&["--attack", technique]).unwrap();
        let mut seen = Vec::new();
        for _ in 0..runs {
            let mut runner = (0, 0);
            let mut run = || {
                runner = (process::process_id(), kick::thread_id());
                Ok(7)
            };
            assert_eq!(attack.enter(&mut run).unwrap(), Ok(7));
            seen.push(runner);
        }
        seen
    }

    #[test]
    fn each_run_uses_another_process() {
        for technique in ["child", "parked"] {
            let mut seen = runners(technique, 4);
            seen.push((process::process_id(), kick::thread_id()));
            seen.sort_unstable();
            seen.dedup_by_key(|(process, _)| *process);
            assert_eq!(seen.len(), 5, "{technique}: {seen:?}");
        }
    }

    #[test]
    fn a_hop_goes_to_another_thread_or_process() {
        let seen = runners("hops", 6);
        assert!(seen.windows(2).all(|two| two[0] != two[1]), "{seen:?}");
        let own = seen.iter().filter(|(process, _)| *process == process::process_id());
        assert_eq!(own.count(), 4, "{seen:?}");
    }

    #[test]
    fn without_a_technique_there_is_nothing_to_do() {
        assert!(attack(&[]).is_none() && attack(&["--attack", "launcher"]).is_none());
    }

    #[test]
    fn after_the_main_thread_each_run_uses_a_new_thread() {
        let seen = runners("leader-exits", 2);
        let own = (process::process_id(), kick::thread_id());
        assert!(seen[0] != seen[1] && !seen.contains(&own), "{seen:?}");
        assert!(seen.iter().all(|(process, _)| *process == own.0), "{seen:?}");
    }

    #[test]
    fn a_vm_may_be_created_by_a_process_that_has_exited() {
        let options = Options::try_parse_from(["snpload", "--attack", "launcher"]).unwrap();
        let maker = launch(&options.behavior, || Ok(process::process_id())).unwrap();
        assert_ne!(maker, process::process_id());
        assert!(!std::path::Path::new(&format!("/proc/{maker}")).exists());
    }
}
