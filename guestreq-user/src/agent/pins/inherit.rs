//! # Going on from another version's counts
//!
//! Its programs are still attached, beside ours: what it has counted until now, and we have not,
//! is what ours are added to from then on.

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, MapInfo};
use guestreq_common::host::Totals;
use log::warn;

use super::{Pins, remove::olds};
use crate::agent::{
    fault::{self, Point},
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

fn open(path: &Path) -> Result<Foreign> {
    let read = || -> Result<Foreign> {
        let bytes = MapInfo::from_pin(path)?.value_size() as usize;
        Foreign::new(MapData::from_pin(path)?.fd().as_fd(), bytes)
    };
    read().with_context(|| format!("{}", path.display()))
}

/// What the old programs have counted and ours have not, at a moment at which no command's end is
/// counted, and none is under way of which ours have not seen the beginning.
fn difference(old: &Foreign, records: &Records) -> Result<Totals> {
    let look = || -> Result<_> { Ok((old.totals(), old.running(), records.counted()?)) };
    let mut last = look()?;
    for _ in 0..LOOKS {
        thread::sleep(PAUSE);
        let now = look()?;
        let quiet = last.0.words() == now.0.words()
            && last.2.totals.words() == now.2.totals.words()
            && now.1 == now.2.now.depth;
        last = now;
        if quiet {
            return Ok(last.2.totals.inherit(&last.0));
        }
    }
    warn!("the PSP was never quiet, or hangs: a command of now may be missing in the totals");
    Ok(last.2.totals.inherit(&last.0))
}
