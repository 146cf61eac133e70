//! # Going on from another version's counts
//!
//! Its programs are still attached, beside ours: what it has counted until now, and we have not,
//! is what ours are added to from then on.

use std::{
    fs, io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, MapInfo};
use guestreq_common::host::HostTotals;
use log::warn;

use super::{Pins, remove::olds};
use crate::agent::{
    bpf,
    fault::{self, Point},
    probes::{Kind, PROBES},
    records::{Foreign, Records},
};

/// A command's end is counted by both within microseconds.
const PAUSE: Duration = Duration::from_millis(1);
/// A command takes the PSP milliseconds; only one that hangs takes longer than all looks.
const LOOKS: u32 = 2_000;

impl Pins {
    /// Takes over what is counted by programs that were put aside; of how many PSP commands.
    ///
    /// Whoever dies within this leaves it to the next one, which then finds the same again.
    pub fn inherit(&self, records: &Records) -> Result<u64> {
        let mut pinned: Vec<PathBuf> = olds().iter().map(|old| old.join("maps/HOST")).collect();
        pinned.retain(|path| fs::symlink_metadata(path).is_ok());
        if pinned.is_empty() {
            return Ok(0);
        }
        let mut known = Vec::new();
        for path in &pinned {
            match open(path) {
                Ok(record) => known.push((record.totals().commands(), path, record)),
                Err(error) => warn!("what it has counted is not known: {error:#}"),
            }
        }
        // The one that began first has seen what the others saw.
        let Some((_, oldest, record)) = known.iter().max_by_key(|(commands, ..)| *commands) else {
            return Ok(0);
        };
        let inherited = difference(record, records)?;
        records.set_inherited(&inherited);
        fault::point(Point::Inherited);
        // That it is done is said by their records' pins being gone, the oldest one's last.
        for path in pinned.iter().filter(|path| path != oldest).chain([*oldest]) {
            fs::remove_file(path).with_context(|| format!("{}", path.display()))?;
        }
        Ok(inherited.commands())
    }
}

/// How often the kernel skipped kprobes' programs that were put aside: what they did not count for
/// it, nobody has.
pub fn missed_by_old() -> u64 {
    let missed = |old: &Path, entry: &str| -> io::Result<u64> {
        let program = bpf::get_pinned(&old.join("programs").join(entry))?;
        Ok(bpf::program_counters(program.as_fd())?.missed)
    };
    let undelivered = |link: &Path| bpf::link_missed(bpf::get_pinned(link)?.as_fd());
    let mut sum = 0;
    // What is not there, or no such thing, has missed nothing.
    for old in olds() {
        let kprobes = PROBES.iter().filter(|probe| matches!(probe.kind, Kind::Kprobe));
        sum += kprobes.filter_map(|probe| missed(&old, probe.entry).ok()).sum::<u64>();
        let links = fs::read_dir(old.join("links")).into_iter().flatten().flatten();
        sum += links.filter_map(|link| undelivered(&link.path()).ok()).sum::<u64>();
    }
    sum
}

fn open(path: &Path) -> Result<Foreign> {
    let read = || -> Result<Foreign> {
        let bytes = MapInfo::from_pin(path)?.value_size() as usize;
        Foreign::new(MapData::from_pin(path)?.fd().as_fd(), bytes)
    };
    read().with_context(|| format!("{}", path.display()))
}

/// What the old programs have counted and ours have not, at a moment at which no command's end is
/// counted, and none is under way of which ours have not seen the beginning.
///
/// Better still, nothing else is counted then, either; but where guests that are over their limit
/// try again and again, there may be no such moment.
fn difference(old: &Foreign, records: &Records) -> Result<HostTotals> {
    let mut last = Look::at(old, records)?;
    for look in 0..LOOKS {
        thread::sleep(PAUSE);
        let now = Look::at(old, records)?;
        let quiet = now.same_commands(&last) && (look > LOOKS / 2 || now.same_words(&last));
        last = now;
        if quiet {
            return Ok(last.ours.inherit(&last.old));
        }
    }
    warn!("the PSP was never quiet, or hangs: a command of now may be missing in the totals");
    Ok(last.ours.inherit(&last.old))
}

/// What both have counted, word by word. What two looks find alike stood still between them.
struct Look {
    old: Box<HostTotals>,
    ours: Box<HostTotals>,
    /// How many commands each has seen begin, but not end; `None` while it counts one.
    running: [Option<u64>; 2],
}

impl Look {
    fn at(old: &Foreign, records: &Records) -> Result<Look> {
        let ours = records.counted()?;
        let now = &ours.now;
        let running = [old.running(), (now.counting == 0).then_some(now.depth)];
        Ok(Look { old: old.totals(), ours: Box::new(ours.totals), running })
    }

    /// No command was counted between these looks, nor begun or ended by one side only.
    fn same_commands(&self, before: &Look) -> bool {
        let counts = |look: &Look| [look.old.commands(), look.ours.commands()];
        let [old, ours] = self.running;
        counts(self) == counts(before)
            && self.running == before.running
            && old.is_some()
            && old == ours
    }

    fn same_words(&self, before: &Look) -> bool {
        self.old.words() == before.old.words() && self.ours.words() == before.ours.words()
    }
}
