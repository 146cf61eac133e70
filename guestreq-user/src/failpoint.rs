//! # Failpoints
//!
//! An agent may be killed at any moment. With the hidden option `--die-at POINT` of `agent` and
//! `detach`, tests kill it after each step of start, takeover, changes and detach. `--die-at list`
//! prints all points, so that no test misses one.

use std::{fmt, sync::OnceLock};

use crate::probes::PROBES;

/// A step after which a process may die; for steps of a hook with its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The maps are created and pinned.
    Maps,
    /// A hook's program is in its program array.
    Placed(&'static str),
    /// FREE_SLOTS is filled, and the maps are signed.
    Slots,
    /// The host's policy is written.
    Policies,
    /// A hook's entry is attached, but not pinned.
    Attached(&'static str),
    /// An entry is pinned, but not its link.
    ProgramPinned(&'static str),
    /// Everything is attached and pinned; another version's pins still exist.
    AllAttached,
    /// What another version left is gone.
    OldDropped,
    /// The new overrides' file is written, but not renamed.
    OverrideWritten,
    /// An override is stored, but not applied.
    OverrideKept,
    /// An override is applied.
    PolicyApplied,
    /// The reloaded configuration was read, but not applied.
    ReloadRead,
    /// A changed default is written, but no VM's policy.
    DefaultWritten,
    /// Some VM's changed policy is written.
    VmWritten,
    /// The reloaded configuration is applied.
    ReloadApplied,
    Stopping,
    /// A hook's link is removed.
    LinkDropped(&'static str),
    LinksDropped,
    ProgramsDropped,
    MapsDropped,
}

impl Point {
    fn phase(self) -> &'static str {
        match self {
            Point::Maps | Point::Placed(_) | Point::Slots | Point::Policies => "start",
            Point::AllAttached | Point::OldDropped => "start",
            Point::Attached(_) | Point::ProgramPinned(_) => "attach",
            Point::OverrideWritten | Point::OverrideKept | Point::PolicyApplied => "change",
            Point::ReloadRead | Point::DefaultWritten => "reload",
            Point::VmWritten | Point::ReloadApplied => "reload",
            Point::Stopping => "stop",
            Point::LinkDropped(_) | Point::LinksDropped => "detach",
            Point::ProgramsDropped | Point::MapsDropped => "detach",
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Maps => f.write_str("maps"),
            Point::Placed(program) => write!(f, "placed:{program}"),
            Point::Slots => f.write_str("slots"),
            Point::Policies => f.write_str("policies"),
            Point::Attached(entry) => write!(f, "attached:{entry}"),
            Point::ProgramPinned(entry) => write!(f, "pinned:{entry}"),
            Point::AllAttached => f.write_str("all_attached"),
            Point::OldDropped => f.write_str("old_dropped"),
            Point::OverrideWritten => f.write_str("override_written"),
            Point::OverrideKept => f.write_str("override_kept"),
            Point::PolicyApplied => f.write_str("policy_applied"),
            Point::ReloadRead => f.write_str("reload_read"),
            Point::DefaultWritten => f.write_str("default_written"),
            Point::VmWritten => f.write_str("vm_written"),
            Point::ReloadApplied => f.write_str("reload_applied"),
            Point::Stopping => f.write_str("stopping"),
            Point::LinkDropped(entry) => write!(f, "dropped:{entry}"),
            Point::LinksDropped => f.write_str("links_dropped"),
            Point::ProgramsDropped => f.write_str("programs_dropped"),
            Point::MapsDropped => f.write_str("maps_dropped"),
        }
    }
}

/// All points, in the order of execution.
fn all() -> Vec<Point> {
    let mut points = vec![Point::Maps];
    points.extend(PROBES.iter().map(|probe| Point::Placed(probe.program)));
    points.extend([Point::Slots, Point::Policies]);
    for probe in &PROBES {
        points.extend([Point::Attached(probe.entry), Point::ProgramPinned(probe.entry)]);
    }
    points.extend([Point::AllAttached, Point::OldDropped]);
    points.extend([Point::OverrideWritten, Point::OverrideKept, Point::PolicyApplied]);
    points.extend([Point::ReloadRead, Point::DefaultWritten]);
    points.extend([Point::VmWritten, Point::ReloadApplied]);
    points.push(Point::Stopping);
    points.extend(PROBES.iter().rev().map(|probe| Point::LinkDropped(probe.entry)));
    points.extend([Point::LinksDropped, Point::ProgramsDropped, Point::MapsDropped]);
    points
}

/// All points, one per line, each after its phase: start, attach, change, reload, stop, detach.
pub fn list() -> String {
    all().iter().map(|point| format!("{} {point}\n", point.phase())).collect()
}

static DIE_AT: OnceLock<String> = OnceLock::new();

/// Chooses the point at which this process dies.
pub fn die_at(name: &str) {
    let _ = DIE_AT.set(name.to_owned());
}

/// Dies by SIGKILL if this is the chosen point.
pub fn point(point: Point) {
    debug_assert!(all().contains(&point), "{point} is not listed");
    if DIE_AT.get().is_some_and(|name| *name == point.to_string()) {
        // SAFETY: no memory is passed.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}
