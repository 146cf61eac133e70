//! # Launches, and who uses the PSP meanwhile
//!
//! Read as single words: each launch that begins or ends makes the agent look.

use std::{mem, sync::atomic::Ordering};

use guestreq_common::{
    command,
    host::{CommandTotals, Host, HostTotals},
    launch::{EndedLaunch, Launch, LaunchTotals},
    vm::{Vm, VmRef},
};

use super::{Records, WORD};

impl Records {
    /// A VM's launch, if its slot is still its own.
    pub fn launch(&self, vm: VmRef) -> Option<Launch> {
        let launch = self.vms.field::<Launch>(vm.index(), mem::offset_of!(Vm, launch))?;
        // Afterwards: the programs change the generation before the next VM's launch.
        self.is_own(vm).then_some(launch)
    }

    /// The process whose command created a VM's record, if its slot is still its own.
    pub fn launched_by(&self, vm: VmRef) -> Option<u32> {
        let word = self.vms.word(vm.index(), mem::offset_of!(Vm, tgid))?;
        let tgid = word.load(Ordering::Acquire) as u32;
        self.is_own(vm).then_some(tgid).filter(|tgid| *tgid != 0)
    }

    /// Whether a VM's guest has sent requests.
    pub fn has_requests(&self, vm: VmRef) -> bool {
        self.is_own(vm) && self.vm(vm.index()).is_some_and(|record| record.has_requests())
    }

    /// Notes that the process of a VM's launch has exited.
    pub fn mark_process_exited(&self, vm: VmRef) {
        let launch = mem::offset_of!(Vm, launch);
        let exited = launch + mem::offset_of!(Launch, process_exited);
        // The other half of its word is `failed_outcome`.
        let bit = 1 << (8 * (exited % WORD));
        if let Some(word) = self.vms.word(vm.index(), exited)
            && self.is_own(vm)
        {
            word.fetch_or(bit, Ordering::AcqRel);
        }
    }

    /// The PSP's time for a VM by [`command::Class`], if its slot is still its own.
    pub fn psp_ns(&self, vm: VmRef) -> Option<[u64; command::CLASSES]> {
        let offset = mem::offset_of!(Vm, psp_ns);
        let times = std::array::from_fn(|class| {
            let word = self.vms.word(vm.index(), offset + class * WORD);
            word.map_or(0, |word| word.load(Ordering::Relaxed))
        });
        self.is_own(vm).then_some(times)
    }

    /// Whether a slot is still this VM's.
    fn is_own(&self, vm: VmRef) -> bool {
        self.peek(vm.index()).is_some_and(|(now, _)| now == vm)
    }

    /// The PSP's time for all commands that have ended.
    pub fn busy_ns(&self) -> u64 {
        (0..command::COMMANDS as u32).map(|command| self.busy_ns_of(command)).sum()
    }

    /// The same for one command.
    pub fn busy_ns_of(&self, command: u32) -> u64 {
        let commands = mem::offset_of!(Host, totals) + mem::offset_of!(HostTotals, commands);
        let at = command::index_of(command) * mem::size_of::<CommandTotals>();
        let busy = commands + at + mem::offset_of!(CommandTotals, busy_ns);
        self.host.word(0, busy).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// The number of launches that have ended.
    pub fn launches_ended(&self) -> u64 {
        let launches = mem::offset_of!(Host, totals) + mem::offset_of!(HostTotals, launches);
        let offset = launches + mem::offset_of!(LaunchTotals, history);
        self.host.word(0, offset).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// The launch with a number among those that have ended, if it is kept: it was among the latest
    /// and is completely written.
    pub fn ended_launch(&self, number: u64) -> Option<Box<EndedLaunch>> {
        let slot = EndedLaunch::index(number) as usize;
        let is_it = || {
            let word = self.launches.word(slot, mem::offset_of!(EndedLaunch, number))?;
            Some(word.load(Ordering::Acquire) == number)
        };
        // The programs write the number last, and overwrite it first.
        let before = is_it()?;
        let ended = self.launches.read(slot)?;
        (before && is_it()?).then_some(ended)
    }

    #[cfg(test)]
    pub fn fake_ended_launch(&self, ended: &EndedLaunch) {
        let launches = mem::offset_of!(Host, totals) + mem::offset_of!(HostTotals, launches);
        let history = launches + mem::offset_of!(LaunchTotals, history);
        if let Some(word) = self.host.word(0, history) {
            word.store(ended.number, Ordering::Relaxed);
        }
        self.launches.write(EndedLaunch::index(ended.number) as usize, ended);
    }

    /// As while a program writes the record.
    #[cfg(test)]
    pub fn fake_unwritten(&self, number: u64) {
        let slot = EndedLaunch::index(number) as usize;
        if let Some(word) = self.launches.word(slot, mem::offset_of!(EndedLaunch, number)) {
            word.store(0, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub fn fake_vm(&self, slot: usize, vm: &Vm) {
        self.vms.write(slot, vm);
    }

    #[cfg(test)]
    pub fn fake_host(&self, host: &Host) {
        self.host.write(0, host);
    }
}
