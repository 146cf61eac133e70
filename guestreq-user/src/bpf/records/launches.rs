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
        self.peek(vm.index()).is_some_and(|(now, _)| now == vm).then_some(launch)
    }

    /// The PSP's time for a VM, if its slot is still its own.
    pub fn psp_ns(&self, vm: VmRef) -> Option<u64> {
        let classes = 0..command::CLASSES;
        let word = |class| self.vms.word(vm.index(), mem::offset_of!(Vm, psp_ns) + class * WORD);
        let sum = classes.filter_map(word).map(|word| word.load(Ordering::Relaxed)).sum();
        self.peek(vm.index()).is_some_and(|(now, _)| now == vm).then_some(sum)
    }

    /// The PSP's time for all commands that have ended.
    pub fn busy_ns(&self) -> u64 {
        let commands = mem::offset_of!(Host, totals) + mem::offset_of!(HostTotals, commands);
        let each = mem::size_of::<CommandTotals>();
        let busy = commands + mem::offset_of!(CommandTotals, busy_ns);
        let word = |command| self.host.word(0, busy + command * each);
        let words = (0..command::COMMANDS).filter_map(word);
        words.map(|word| word.load(Ordering::Relaxed)).sum()
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
