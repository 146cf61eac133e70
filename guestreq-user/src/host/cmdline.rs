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

/// Firecracker's where none is given.
const ANONYMOUS: &str = "anonymous-instance";
/// microvm.nix has VMMs called so, with the VM's name behind it.
const MICROVM: &str = "microvm@";

/// What arguments tell.
#[derive(Default)]
struct Parts {
    name: Option<Sourced>,
    uuid: Option<Sourced>,
    /// What shows that KubeVirt made them.
    mark: Option<String>,
}

/// Reads a VM's identity off the arguments its VMM was started with, its process' name, and the
/// file of its program where that may be read. A process may be called anything; what it runs it
/// cannot choose that freely, so that one is asked first.
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
    let given = parts.name.take().filter(|said| !said.value.is_empty());
    let microvm = || {
        found?;
        let name = first.strip_prefix(MICROVM).filter(|name| !name.is_empty())?;
        Some(Sourced::new(name, first.as_str()))
    };
    let name = given.or_else(microvm);
    evidence.push(match &name {
        Some(said) => Evidence::new("name", EvidenceSource::Argument, &said.text),
        None => Evidence::new("name", EvidenceSource::Comm, comm),
    });
    let uuid = parts.uuid.filter(|said| !said.value.is_empty());
    if let Some(said) = &uuid {
        evidence.push(Evidence::new("uuid", EvidenceSource::Argument, &said.text));
    }
    let mut identity = Identity {
        named: name.is_some(),
        name: name.map_or_else(|| comm.to_owned(), |said| exact(&said.value)),
        uuid: uuid.map(|said| clean(&said.value)).unwrap_or_default(),
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

/// The first that knows the program tells, also that it is no VMM.
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
        // What is behind that is not Firecracker's.
        if argument == "--" {
            break;
        }
        if let Some(said) = value(&argument, "--id", arguments)? {
            name = Some(said);
        }
    }
    Ok(Parts { name: name.filter(|said| said.value != ANONYMOUS), ..Parts::default() })
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
