//! # Foreign pins

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{
    Host, PINS, refused, start,
    versions::{counts_new_requests, set_aside},
};
use crate::{
    agent::{self, cli},
    attacker, bpf,
    scenario::{Context, Status, scenario},
};

scenario!(night FOREIGN: "takeover/foreign_pins" = foreign,
    "foreign pins are reported and never adopted");

const HOST_RECORD: &str = "/sys/fs/bpf/guestreq/maps/HOST";

/// Name, reported message, and setup.
type Case = (&'static str, &'static str, fn() -> Result<()>);

const CASES: [Case; 4] = [
    ("a foreign map under our name", "HOST has another name or type", || {
        fs::create_dir_all(format!("{PINS}/maps"))?;
        bpf::pin_array(HOST_RECORD)
    }),
    ("a map instead of the folder", "is not a directory", || bpf::pin_array(PINS)),
    ("a folder owned by nobody", "belongs to uid 65534, not to root", || {
        let status = attacker::nobody(&mut Command::new("/bin/mkdir")).arg(PINS).status()?;
        ensure!(status.success(), "mkdir: {status}");
        Ok(())
    }),
    ("a link", "is not a directory", || Ok(symlink("/tmp", PINS)?)),
];

fn foreign(_: &Context) -> Result<Status> {
    let mut host = Host::fresh("")?;
    for (what, reported, make) in CASES {
        host.begin()?;
        make().context(what)?;
        let agent = start(&[]).context(what)?;
        let log = agent::log();
        ensure!(log.contains(reported), "{what}: {log}");
        ensure!(set_aside()?.is_empty(), "{what}: {:?}", set_aside()?);
        agent.kill()?;
        let agent = start(&[])?;
        ensure!(!agent::log().contains("cannot take over"), "{what}: {}", agent::log());
        counts_new_requests(&agent).context(what)?;
        host.firmware().context(what)?;
        agent.kill()?;
    }
    host.begin()?;

    next_to_ours(host)
}

/// Next to our pins: ignored until these are removed.
fn next_to_ours(host: Host) -> Result<Status> {
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
    // Set aside with pins of another schema, it is reported and has no effect.
    let agent = start(&[])?;
    agent.kill()?;
    bpf::write_first_word(HOST_RECORD, 99)?;
    let agent = start(&[])?;
    ensure!(agent::log().contains("alien is not guestreq's"), "{}", agent::log());
    host.firmware()?;
    agent.kill()?;
    refused(&["detach"])?;
    for name in set_aside()? {
        fs::remove_dir(format!("/sys/fs/bpf/{name}/alien"))?;
    }
    ensure!(cli(&["detach"])?.contains("Detached"));
    ensure!(set_aside()?.is_empty(), "{:?}", set_aside()?);
    host.gate.remove()?;
    Ok(Status::Passed)
}
