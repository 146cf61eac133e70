//! # Capabilities for the gate's parameters
//!
//! uid 0 is not enough: root in a container without capabilities learns no secret and cannot change
//! decisions.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{
    attacker,
    gate::{Gate, GateCounts},
    pod::Pod,
    privileges::{self, Answers, SYS_ADMIN, SYS_MODULE, numbered, root_with, tried},
    scenario::{Context, Status, scenario},
};

scenario!(CAPABILITIES: "gate/capabilities" = capabilities,
    "root without the capability neither reads the gate's secrets nor sets anything");
scenario!(LOADER: "gate/loader" = loader, "CAP_SYS_MODULE suffices to load the gate closed");

const DENIED_BY_MODE: i32 = libc::EACCES;
const DENIED: i32 = libc::EPERM;

/// The answers to uid 0, for the secrets, a self-test, and setting `closed`.
fn of_root(secrets: i32, self_test: i32, closed: i32) -> Answers {
    let answers = [
        ("read protocol", 0),
        ("read protocol_newest", 0),
        ("read depth", 0),
        ("read launch_share", 0),
        ("read order", 0),
        ("read who waits", secrets),
        ("read admitted", 0),
        ("read denied", 0),
        ("read busy", 0),
        ("read unanswered", 0),
        ("read closed", 0),
        ("read file", secrets),
        ("read cookie", secrets),
        ("read self_test", self_test),
        ("write self_test", self_test),
        ("write closed", closed),
        ("write depth", closed),
        ("write launch_share", closed),
    ];
    answers.into_iter().map(|(what, errno)| (what.to_owned(), errno)).collect()
}

/// Removes the answer to setting a counter, which the file's mode or the gate must refuse.
fn without_counter(mut answers: Answers) -> Result<Answers> {
    let set = answers.remove("write admitted").context("no counter was written")?;
    ensure!(set == DENIED || set == DENIED_BY_MODE, "setting a counter: {set}");
    Ok(answers)
}

fn capabilities(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    let pods: Vec<u32> =
        Pod::agent()?.capabilities().iter().map(|name| numbered(name)).collect::<Result<_>>()?;
    ensure!(pods.len() == 4, "the pod has {pods:?}");
    let but = |left_out: u32| -> Result<Vec<u32>> {
        Ok(privileges::all()?.into_iter().filter(|number| *number != left_out).collect())
    };
    for (who, kept, expected) in [
        ("none", vec![], of_root(DENIED, DENIED, DENIED)),
        ("the pod's", pods, of_root(0, 0, DENIED)),
        ("CAP_SYSLOG", vec![numbered("SYSLOG")?], of_root(0, DENIED, DENIED)),
        ("CAP_BPF", vec![numbered("BPF")?], of_root(DENIED, 0, DENIED)),
        // Implies CAP_BPF, as for bpf(2), but not CAP_SYSLOG.
        ("CAP_SYS_ADMIN", vec![SYS_ADMIN], of_root(DENIED, 0, 0)),
        ("all but CAP_SYSLOG", but(numbered("SYSLOG")?)?, of_root(DENIED, 0, 0)),
        ("all but CAP_SYS_ADMIN", but(SYS_ADMIN)?, of_root(0, 0, DENIED)),
        ("all", privileges::all()?, of_root(0, 0, 0)),
    ] {
        let answers = without_counter(tried(|command| root_with(command, &kept))?)?;
        ensure!(answers == expected, "root with {who}: {answers:?}, not {expected:?}");
        let closed = if expected["write closed"] == 0 { "Y" } else { "N" };
        ensure!(gate.get("closed")? == closed, "root with {who}: closed is not {closed}");
        gate.set("closed", "N")?;
        gate.set("depth", "1")?;
        gate.set("launch_share", "75")?;
    }
    let answers = tried(|command| Ok(attacker::nobody(command)))?;
    for (what, errno) in answers {
        let public = ["protocol", "protocol_newest", "depth", "launch_share"];
        let is_public = what.strip_prefix("read ").is_some_and(|name| public.contains(&name));
        let expected = if is_public { 0 } else { DENIED_BY_MODE };
        ensure!(errno == expected, "nobody: {what}: {errno}");
    }
    ensure!(gate.counts()? == GateCounts::default(), "{:?}", gate.counts()?);
    Ok(Status::Passed)
}

/// With CAP_SYS_MODULE only.
fn loader(_: &Context) -> Result<Status> {
    for (parameter, closed) in [("closed=Y", "Y"), ("closed=N", "N"), ("closed", "Y")] {
        let mut insmod = Command::new("insmod");
        insmod.args(["/modules/guestreq_gate.ko", parameter]);
        let gate = Gate::load_by(root_with(&mut insmod, &[SYS_MODULE])?)?;
        ensure!(gate.get("closed")? == closed, "{parameter}: {:?}", gate.get("closed")?);
        gate.remove()?;
    }
    ensure!(Gate::load(&["closed=maybe"]).is_err(), "closed=maybe was taken");
    Ok(Status::Passed)
}
