//! # Under our name, but not ours

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{
    Host, PINS, refused, start,
    versions::{aside, counts_on},
};
use crate::{
    agent::{self, cli},
    attacker, bpf,
    scenario::{Context, Outcome, Scenario},
};

pub const FOREIGN: Scenario =
    Scenario { name: "what_is_not_guestreq_s_is_told_and_never_adopted", check: foreign };

const HOST_RECORD: &str = "/sys/fs/bpf/guestreq/maps/HOST";

/// What it is, what is told of it, and how it comes about.
type Case = (&'static str, &'static str, fn() -> Result<()>);

const CASES: [Case; 4] = [
    ("somebody's map under the name of ours", "HOST has another name or type", || {
        fs::create_dir_all(format!("{PINS}/maps"))?;
        bpf::pin_an_array(HOST_RECORD)
    }),
    ("a map in the place of the folder", "is not a directory", || bpf::pin_an_array(PINS)),
    ("a folder of nobody's", "belongs to uid 65534, not to root", || {
        let status = attacker::nobody(&mut Command::new("/bin/mkdir")).arg(PINS).status()?;
        ensure!(status.success(), "mkdir: {status}");
        Ok(())
    }),
    ("a link to elsewhere", "is not a directory", || Ok(symlink("/tmp", PINS)?)),
];

fn foreign(_: &Context) -> Result<Outcome> {
    let mut host = Host::fresh("")?;
    for (what, told, make) in CASES {
        host.begin()?;
        make().context(what)?;
        let agent = start(&[]).context(what)?;
        let said = agent::log();
        ensure!(said.contains(told), "{what}: {said}");
        ensure!(aside()?.is_empty(), "{what}: {:?}", aside()?);
        agent.kill()?;
        let agent = start(&[])?;
        ensure!(!agent::log().contains("cannot take over"), "{what}: {}", agent::log());
        counts_on(&agent).context(what)?;
        host.firmware().context(what)?;
        agent.kill()?;
    }
    host.begin()?;

    beside(host)
}

/// Beside our pins: nobody's business, until they are to go.
fn beside(host: Host) -> Result<Outcome> {
    let agent = start(&[])?;
    let alien = format!("{PINS}/alien");
    fs::create_dir(&alien).context("alien")?;
    agent.kill()?;
    let agent = start(&[])?;
    host.firmware()?;
    agent.kill()?;
    let line = refused(&["detach"])?;
    ensure!(line.contains("alien is not guestreq's: remove it by hand"), "{line}");
    ensure!(Path::new(&alien).exists(), "it was removed");
    // Put aside, as of another schema, it is told and in nobody's way.
    let agent = start(&[])?;
    agent.kill()?;
    bpf::write_first_word(HOST_RECORD, 99)?;
    let agent = start(&[])?;
    ensure!(agent::log().contains("alien is not guestreq's"), "{}", agent::log());
    host.firmware()?;
    agent.kill()?;
    refused(&["detach"])?;
    for name in aside()? {
        fs::remove_dir(format!("/sys/fs/bpf/{name}/alien"))?;
    }
    ensure!(cli(&["detach"])?.contains("Detached"));
    ensure!(aside()?.is_empty(), "{:?}", aside()?);
    host.gate.remove()?;
    Ok(Outcome::Kept)
}
