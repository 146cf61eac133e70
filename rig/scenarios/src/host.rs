//! # The simulated host
//!
//! Its modules, and the fake firmware's knobs and counts: the ground truth.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// In the order of loading. snpsim precedes kvm, whose code is patched for the CPU's features when
/// it is loaded.
pub const MODULES: [&str; 5] = ["irqbypass", "snpsim", "kvm", "ccp", "kvm-amd"];

pub fn kernel() -> Result<String> {
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's release")?;
    Ok(release.trim().to_owned())
}

pub fn insmod(module: &str, parameters: &[&str]) -> Result<()> {
    let path = format!("/modules/{module}.ko");
    run(Command::new("insmod").arg(path).args(parameters))
}

pub fn rmmod(module: &str) -> Result<()> {
    run(Command::new("rmmod").arg(module))
}

/// Runs a program that must succeed.
pub fn run_command(program: &str, arguments: &[&str]) -> Result<()> {
    run(Command::new(program).args(arguments))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", stderr.trim());
    Ok(())
}

/// An SNP host with a fast firmware.
pub fn load_all() -> Result<()> {
    load_with(&[])
}

/// The same, with parameters for ccp.
pub fn load_with(ccp: &[&str]) -> Result<()> {
    for module in MODULES {
        insmod(module, if module == "ccp" { ccp } else { &[] })?;
    }
    ensure!(Path::new("/dev/sev").exists(), "ccp has made no /dev/sev");
    Firmware::reset()
}

/// Waits for a condition, polling 20 times a second.
pub fn wait_until(what: &str, limit: Duration, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !so()? {
        ensure!(start.elapsed() < limit, "timed out after {limit:?} waiting until {what}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The fake firmware's counts.
#[derive(Clone, Debug, Default)]
pub struct Firmware {
    pub guest_requests: u64,
    /// Requests that it accepted and never answered.
    pub hung: u64,
    /// By message type and status.
    pub messages: BTreeMap<(u8, u32), u64>,
    /// Launches and requests by the address of the context page.
    pub contexts: BTreeMap<u64, (u64, u64)>,
    /// Count and busy time in ns, by command.
    pub commands: BTreeMap<u32, (u64, u64)>,
    /// Deliberate sleep in ns, by command.
    pub slept: BTreeMap<u32, u64>,
}

impl Firmware {
    pub fn read() -> Result<Firmware> {
        Firmware::parse(&fs::read_to_string("/dev/snpsim").context("/dev/snpsim")?)
    }

    fn parse(text: &str) -> Result<Firmware> {
        let mut firmware = Firmware::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["guest_requests", n] => firmware.guest_requests = n.parse()?,
                ["hung", n] => firmware.hung = n.parse()?,
                ["message", kind, status, n] => {
                    firmware.messages.insert((kind.parse()?, status.parse()?), n.parse()?);
                }
                ["context", address, launches, n] => {
                    firmware.contexts.insert(hex(address)?, (launches.parse()?, n.parse()?));
                }
                ["command", command, n, ns] => {
                    firmware.commands.insert(hex(command)? as u32, (n.parse()?, ns.parse()?));
                }
                ["slept_ns", command, ns] => {
                    firmware.slept.insert(hex(command)? as u32, ns.parse()?);
                }
                _ => {}
            }
        }
        Ok(firmware)
    }

    /// What it counted since an earlier reading.
    pub fn since(&self, before: &Firmware) -> Firmware {
        let mut delta = self.clone();
        delta.guest_requests -= before.guest_requests;
        delta.hung -= before.hung;
        for (key, count) in &mut delta.messages {
            *count -= before.messages.get(key).copied().unwrap_or(0);
        }
        for (key, (launches, requests)) in &mut delta.contexts {
            let (old_launches, old_requests) =
                before.contexts.get(key).copied().unwrap_or_default();
            *launches -= old_launches;
            *requests -= old_requests;
        }
        for (key, (count, ns)) in &mut delta.commands {
            let (old_count, old_ns) = before.commands.get(key).copied().unwrap_or_default();
            *count -= old_count;
            *ns -= old_ns;
        }
        for (key, ns) in &mut delta.slept {
            *ns -= before.slept.get(key).copied().unwrap_or(0);
        }
        delta.messages.retain(|_, count| *count > 0);
        delta.contexts.retain(|_, (launches, requests)| *launches + *requests > 0);
        delta.commands.retain(|_, (count, _)| *count > 0);
        delta
    }

    /// Sets one of its knobs.
    pub fn set(knob: &str, value: u64) -> Result<()> {
        let path = format!("/sys/module/snpsim/parameters/{knob}");
        fs::write(&path, value.to_string()).with_context(|| format!("{path} = {value}"))
    }

    /// As fast as possible, and without faults.
    pub fn reset() -> Result<()> {
        let times = ["latency_us", "jitter_us", "other_us"];
        let faults = ["status_steps", "status", "hang", "blind_bpf", "hold_memory"];
        for knob in times.into_iter().chain(faults) {
            Firmware::set(knob, 0)?;
        }
        Ok(())
    }
}

fn hex(word: &str) -> Result<u64> {
    match word.strip_prefix("0x") {
        Some(digits) => Ok(u64::from_str_radix(digits, 16)?),
        None => bail!("{word:?} is no hexadecimal number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_and_subtracted() {
        let before = "guest_requests 2\nmessage 5 0 2\ncontext 0x1000 1 2\ncontext 0x2000 1 0\n";
        let before = Firmware::parse(before).unwrap();
        let after = Firmware::parse(
            "guest_requests 5\nhung 1\nmessage 5 0 2\nmessage 3 22 3\ncommand 0x94 5 700\n\
             slept_ns 0x94 600\ncontext 0x1000 2 5\ncontext 0x2000 1 0\n",
        )
        .unwrap();
        let delta = after.since(&before);
        assert_eq!((delta.guest_requests, delta.hung), (3, 1));
        assert_eq!(delta.messages, BTreeMap::from([((3, 22), 3)]));
        assert_eq!(delta.contexts, BTreeMap::from([(0x1000, (1, 3))]));
        assert_eq!(delta.commands[&0x94], (5, 700));
        assert_eq!(delta.slept[&0x94], 600);
    }
}
