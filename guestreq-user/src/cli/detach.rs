//! # guestreq detach

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{
    bpf::{pins, programs},
    daemon::lock::Lock,
    enforce::gate::Alone,
    failpoint,
    host::system,
};

/// End what goes on without an agent: enforcement and counting
#[derive(clap::Args)]
#[command(after_help = "\
Detaches all programs and removes everything under /sys/fs/bpf/guestreq, so that the host is as it \
was before guestreq's first start. What was counted is gone. A gate that is still loaded then \
decides by its `closed` parameter: a closed one denies every request, and Linux guests lose their \
VMPCKs until they are rebooted. Where it is closed, or that cannot be seen, this refuses without --yes.

Example: systemctl stop guestreq && guestreq detach")]
pub struct Args {
    /// Even if a closed gate then denies every request of every VM
    #[arg(long)]
    yes: bool,
    /// Die by SIGKILL at this point
    #[arg(long, value_name = "POINT", hide = true)]
    die_at: Option<String>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        if let Some(point) = &self.die_at {
            failpoint::die_at(point);
        }
        // Held to the end: no agent starts meanwhile.
        let _lock = match Lock::take()? {
            Ok(lock) => lock,
            Err(held) => {
                bail!("an agent is running{}, which would attach again: stop it first", held.by())
            }
        };
        let alone = Alone::of(system::host());
        if pins::are_any()?
            && let Some(why) = refusal(&alone, self.yes)
        {
            bail!("{why}");
        }
        let detached = pins::remove_all(&programs::detach_order())?;
        println!("{}", done(detached, &alone));
        if let Err(missing) = pins::file_system(pins::mounted())
            && !detached
        {
            // It may be that what is pinned is not shown here.
            println!("{}", missing.what);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Why nothing is detached.
fn refusal(alone: &Alone, yes: bool) -> Option<String> {
    let why = alone.warning().filter(|_| !yes)?;
    Some(format!("nothing is detached: {why} (--yes detaches all the same)"))
}

/// What holds from now on.
fn done(detached: bool, alone: &Alone) -> String {
    let did = if detached { "Detached." } else { "Nothing was attached." };
    match alone {
        Alone::Closed => format!(
            "{did} Nothing is counted any more, and the gate is closed (closed=Y): every request \
             of every VM is denied."
        ),
        Alone::Unknown(why) => format!(
            "{did} Nothing is counted any more. Whether a closed gate denies every request cannot \
             be seen ({why})."
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

    /// Row 2 of the second review: it ended with every request denied, and said that nothing was
    /// enforced any more.
    #[test]
    fn a_closed_gate_is_left_without_an_answer_only_by_who_wants_that() {
        let unknown = Alone::Unknown("/sys/module: none".to_owned());
        for bad in [&Alone::Closed, &unknown] {
            let why = refusal(bad, false).unwrap();
            assert!(why.contains("every request of every VM is denied"), "{why}");
            assert!(why.contains("until it is rebooted"), "{why}");
            assert!(why.ends_with("(--yes detaches all the same)"), "{why}");
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
