//! # VMMs' command lines

mod cloud_hypervisor;
mod loader;
mod qemu;

use std::io::{self, BufRead};

use super::{
    Evidence, EvidenceSource, Identified, Identity,
    arguments::Arguments,
    clean,
    evidence::Sourced,
    exact, kubevirt,
    vmms::{Program, Vmm},
};
use crate::text::usual_uuid;

/// Firecracker's where none is given.
const ANONYMOUS: &str = "anonymous-instance";
/// microvm.nix starts VMMs under this name, followed by the VM's name.
const MICROVM: &str = "microvm@";

/// What arguments contain.
#[derive(Default)]
struct Parts {
    name: Option<Sourced>,
    uuid: Option<Sourced>,
    /// An argument that shows KubeVirt.
    mark: Option<String>,
}

/// Reads a VM's identity from its VMM's arguments, its process' name, and its program's file if
/// that is readable. The file comes first: a process cannot choose it as freely as its name.
pub fn parse(cmdline: impl BufRead, comm: &str, exe: Option<&str>) -> io::Result<Identified> {
    let mut arguments = Arguments::of(cmdline);
    let mut first = arguments.next()?.unwrap_or_default();
    if loader::is_one(&first) {
        first = loader::program(&mut arguments)?;
    }
    let found = vmm_of(exe, &first, comm);
    let mut evidence = Vec::new();
    let (mut parts, vmm) = match found {
        Some((vmm, from, text)) => {
            evidence.push(Evidence::new("vmm", from, text));
            let parts = match vmm {
                Vmm::Qemu => qemu::parse(&mut arguments)?,
                Vmm::CloudHypervisor => cloud_hypervisor::parse(&mut arguments)?,
                Vmm::Firecracker => firecracker(&mut arguments)?,
            };
            (parts, vmm.name())
        }
        None => {
            evidence.push(Evidence::new("vmm", EvidenceSource::Comm, comm));
            (Parts::default(), comm)
        }
    };
    let given = parts.name.take().filter(|given| !given.value.is_empty());
    let microvm = || {
        found?;
        let name = first.strip_prefix(MICROVM).filter(|name| !name.is_empty())?;
        Some(Sourced::new(name, first.as_str()))
    };
    let name = given.or_else(microvm);
    evidence.push(match &name {
        Some(given) => Evidence::new("name", EvidenceSource::Argument, &given.text),
        None => Evidence::new("name", EvidenceSource::Comm, comm),
    });
    let uuid = parts.uuid.filter(|given| !given.value.is_empty());
    if let Some(given) = &uuid {
        evidence.push(Evidence::new("uuid", EvidenceSource::Argument, &given.text));
    }
    let mut identity = Identity {
        named: name.is_some(),
        name: name.map_or_else(|| comm.to_owned(), |given| exact(&given.value)),
        uuid: uuid.map(|given| in_usual_form(clean(&given.value))).unwrap_or_default(),
        vmm: vmm.to_owned(),
        ..Identity::default()
    };
    if let Some(mark) = &parts.mark
        && kubevirt::name(&mut identity)
    {
        evidence.push(Evidence::new("namespace", EvidenceSource::Argument, mark));
    }
    Ok(Identified { identity, evidence })
}

/// cloud-hypervisor also takes a UUID without dashes, in braces or as a URN.
fn in_usual_form(uuid: String) -> String {
    usual_uuid(&uuid).unwrap_or(uuid)
}

/// The first source that identifies the program counts, as a VMM or not.
fn vmm_of<'a>(
    exe: Option<&'a str>,
    first: &'a str,
    comm: &'a str,
) -> Option<(Vmm, EvidenceSource, &'a str)> {
    let files = exe.map(|exe| (EvidenceSource::Exe, exe)).into_iter();
    for (from, path) in files.chain([(EvidenceSource::Argument, first)]) {
        match Program::of_path(path) {
            Program::Vmm(vmm) => return Some((vmm, from, path)),
            Program::Other => return None,
            Program::Unknown => {}
        }
    }
    Some((Vmm::of_comm(comm)?, EvidenceSource::Comm, comm))
}

fn firecracker(arguments: &mut Arguments<impl BufRead>) -> io::Result<Parts> {
    let mut name = None;
    while let Some(argument) = arguments.next()? {
        // Later arguments are not Firecracker's.
        if argument == "--" {
            break;
        }
        if let Some(id) = value(&argument, "--id", arguments)? {
            name = Some(id);
        }
    }
    Ok(Parts { name: name.filter(|id| id.value != ANONYMOUS), ..Parts::default() })
}

/// The value of an option, given as `--option value` or `--option=value`; the last one counts.
fn value(
    argument: &str,
    option: &str,
    arguments: &mut Arguments<impl BufRead>,
) -> io::Result<Option<Sourced>> {
    let Some(rest) = argument.strip_prefix(option) else { return Ok(None) };
    if rest.is_empty() {
        let next = arguments.next()?;
        return Ok(next.map(|next| Sourced::new(next.as_str(), format!("{option} {next}"))));
    }
    Ok(rest.strip_prefix('=').map(|value| Sourced::new(value, argument)))
}

#[cfg(test)]
mod tests;
