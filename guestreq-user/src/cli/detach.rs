//! # guestreq detach

use std::{io::Read as _, os::unix::net::UnixStream, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level::pipe,
};

use crate::{
    bpf::{pins, programs},
    config::Config,
    daemon::{feature_file, lock::Lock},
    enforce::gate::Alone,
    failpoint,
    host::system,
    text::printable,
};

/// Remove all pinned programs, links and maps: ends enforcement and counting
#[derive(clap::Args)]
#[command(after_help = "\
Everything under /sys/fs/bpf/guestreq is removed, counts included, and the file of the key `nfd_file`. A gate that is still loaded then \
follows its `closed` parameter: if closed, it denies every request, and Linux guests lose their \
VMPCKs until they reboot. If it is closed, or its state is unknown, --yes is required.

Example: systemctl stop guestreq && guestreq detach")]
pub struct Args {
    /// Proceed even if a closed gate then denies every request of every VM
    #[arg(long)]
    yes: bool,
    /// Afterwards do nothing until SIGTERM or SIGINT: for a DaemonSet, whose containers may not end
    #[arg(long)]
    stay: bool,
    /// Die by SIGKILL at this failpoint
    #[arg(long, value_name = "POINT", hide = true)]
    die_at: Option<String>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        if let Some(point) = &self.die_at {
            failpoint::die_at(point);
        }
        self.detach()?;
        if self.stay {
            wait_for_signal()?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn detach(&self) -> Result<()> {
        // Keeps agents from starting meanwhile.
        let _lock = match Lock::take()? {
            Ok(lock) => lock,
            Err(held) => bail!("an agent is running{}: stop it first", held.by()),
        };
        let alone = Alone::of(system::host());
        if pins::are_any()?
            && let Some(why) = refusal(&alone, self.yes)
        {
            bail!("{why}");
        }
        let detached = pins::remove_all(&programs::detach_order())?;
        println!("{}", done(detached, &alone));
        remove_labels();
        if let Err(missing) = pins::file_system(pins::mounted())
            && !detached
        {
            // Pins may exist where this mount namespace cannot see them.
            println!("{}", missing.what);
        }
        Ok(())
    }
}

/// Labels of this node; without an agent they expire within minutes anyway.
fn remove_labels() {
    let Ok(Config { nfd_file: Some(path), .. }) = Config::load(None) else { return };
    if let Err(error) = feature_file::remove(&path) {
        let path = printable(&path.display().to_string());
        eprintln!("guestreq: warning: cannot remove labels of this node: {path}: {error}");
    }
}

/// The first process of a pid namespace gets only signals that it handles.
fn wait_for_signal() -> Result<()> {
    let (mut received, sent) = UnixStream::pair().context("a socket for signals")?;
    for signal in [SIGTERM, SIGINT] {
        let sent = sent.try_clone().context("a socket for signals")?;
        pipe::register(signal, sent).with_context(|| format!("signal {signal}"))?;
    }
    received.read_exact(&mut [0]).context("a socket for signals")
}

/// Why this refuses to detach, if it does.
fn refusal(alone: &Alone, yes: bool) -> Option<String> {
    let why = alone.warning().filter(|_| !yes)?;
    Some(format!("nothing detached: {why} (--yes to proceed)"))
}

/// Reports the state after detaching.
fn done(detached: bool, alone: &Alone) -> String {
    let did = if detached { "Detached." } else { "Nothing was attached." };
    match alone {
        Alone::Closed => format!(
            "{did} Nothing is counted any more, and the gate is closed (closed=Y): every request \
             of every VM is denied."
        ),
        Alone::Unknown(why) => format!(
            "{did} Nothing is counted any more. A closed gate may deny every request: its state \
             cannot be seen ({why})."
        ),
        Alone::NoGate | Alone::Open if detached => {
            format!("{did} Nothing is counted or enforced any more.")
        }
        Alone::NoGate | Alone::Open => did.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 2 of the second review.
    #[test]
    fn detaching_from_a_closed_gate_needs_confirmation() {
        let unknown = Alone::Unknown("/sys/module: none".to_owned());
        for bad in [&Alone::Closed, &unknown] {
            let why = refusal(bad, false).unwrap();
            assert!(why.contains("every request of every VM is denied"), "{why}");
            assert!(why.contains("until it is rebooted"), "{why}");
            assert!(why.ends_with("(--yes to proceed)"), "{why}");
            assert_eq!(refusal(bad, true), None);
        }
        assert!(refusal(&unknown, false).unwrap().contains("is loaded (/sys/module: none)"));
        for good in [Alone::Open, Alone::NoGate] {
            assert_eq!(refusal(&good, false), None);
            assert_eq!(done(true, &good), "Detached. Nothing is counted or enforced any more.");
            assert_eq!(done(false, &good), "Nothing was attached.");
        }
        for detached in [true, false] {
            assert!(
                done(detached, &Alone::Closed).ends_with("every request of every VM is denied.")
            );
            assert!(done(detached, &unknown).contains("cannot be seen"));
        }
    }
}
