//! # The simulated host
//!
//! Its modules, and the fake firmware's knobs and counts: the ground truth.

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use guestreq_common::command::{SNP_DECOMMISSION, SNP_GCTX_CREATE};

/// In the order of loading, unless they are built into the kernel. snpsim precedes kvm, whose code
/// is patched for the CPU's features when it is loaded.
pub const MODULES: [&str; 5] = ["irqbypass", "snpsim", "kvm", "ccp", "kvm-amd"];

pub fn kernel() -> Result<String> {
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's release")?;
    Ok(release.trim().to_owned())
}

/// The kernel's command line.
pub fn cmdline() -> Result<String> {
    fs::read_to_string("/proc/cmdline").context("/proc/cmdline")
}

pub fn insmod(module: &str, parameters: &[&str]) -> Result<()> {
    run(Command::new("insmod").arg(file_of(module)).args(parameters))
}

fn file_of(module: &str) -> String {
    format!("/modules/{module}.ko")
}

/// Whether the kernel has it without a module.
pub fn is_built_in(module: &str) -> bool {
    !Path::new(&file_of(module)).exists()
}

/// Whether it is there as a module.
pub fn is_loaded(module: &str) -> bool {
    !is_built_in(module) && Path::new("/sys/module").join(module.replace('-', "_")).exists()
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

/// How long the fake firmware takes in scenarios and benchmarks: no longer than it must. They were
/// written for that, most count rather than measure, and with the published times the test suite
/// would take several times as long. A scenario that needs a duration sets it.
const FAST: [(&str, i64); 5] =
    [("latency_us", 0), ("jitter_us", 0), ("page_us", 0), ("other_us", 0), ("jitter_percent", 0)];

/// How long hardware takes, as published: snpsim's defaults.
const PUBLISHED: [(&str, i64); 5] = [
    ("latency_us", 7700),
    ("jitter_us", 0),
    ("page_us", 1000),
    ("other_us", -1),
    ("jitter_percent", 5),
];

/// An SNP host with a fast firmware.
pub fn load_all() -> Result<()> {
    load_with(&[])
}

/// The same, with parameters for ccp.
pub fn load_with(ccp: &[&str]) -> Result<()> {
    ensure!(ccp.is_empty() || !is_built_in("ccp"), "ccp is built in, and takes no {ccp:?}");
    // From its start, as ccp initializes it at once.
    let fast = FAST.map(|(knob, value)| format!("{knob}={value}"));
    let fast = fast.each_ref().map(String::as_str);
    for module in MODULES.into_iter().filter(|module| !is_built_in(module)) {
        insmod(
            module,
            match module {
                "snpsim" => &fast,
                "ccp" => ccp,
                _ => &[],
            },
        )?;
    }
    ensure!(Path::new("/dev/sev").exists(), "ccp has made no /dev/sev");
    Ok(())
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

/// A launch, as the fake firmware saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Launch {
    /// Of the guest context page, as in the commands.
    pub address: u64,
    /// GCTX_CREATE, LAUNCH_START, ACTIVATE, LAUNCH_UPDATEs and LAUNCH_FINISH.
    pub commands: u64,
    /// LAUNCH_UPDATEs that succeeded: the measured pages and each vCPU's state.
    pub pages: u64,
    pub busy_ns: u64,
    /// CLOCK_MONOTONIC, like snpload's and the agent's times: the first command's begin and the
    /// last one's end.
    pub begin_ns: u64,
    pub end_ns: u64,
    /// Commands.
    pub failed: u64,
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
    /// By number, from 0; only the newest.
    pub launches: BTreeMap<u64, Launch>,
    /// How many launches have begun.
    pub launched: u64,
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
                ["launches", n] => firmware.launched = n.parse()?,
                ["launch", address, number, numbers @ ..] => {
                    let launch = Launch::parse(hex(address)?, numbers)?;
                    firmware.launches.insert(number.parse()?, launch);
                }
                _ => {}
            }
        }
        Ok(firmware)
    }

    /// The launches that have begun since an earlier reading, in order.
    pub fn launches_since(&self, before: &Firmware) -> Result<Vec<Launch>> {
        let new: Vec<Launch> =
            self.launches.range(before.launched..).map(|(_, launch)| *launch).collect();
        let count = self.launched - before.launched;
        ensure!(new.len() as u64 == count, "the firmware forgot some of {count} launches");
        Ok(new)
    }

    /// How many commands of this number it executed.
    pub fn count(&self, command: u32) -> u64 {
        self.commands.get(&command).map_or(0, |(count, _)| *count)
    }

    /// How many guest contexts were made, and how many have gone.
    pub fn contexts(&self) -> (u64, u64) {
        (self.count(SNP_GCTX_CREATE), self.count(SNP_DECOMMISSION))
    }

    /// For how long it executed commands.
    pub fn busy_ns(&self) -> u64 {
        self.commands.values().map(|(_, ns)| ns).sum()
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
    pub fn set(knob: &str, value: impl Display) -> Result<()> {
        let path = format!("/sys/module/snpsim/parameters/{knob}");
        fs::write(&path, value.to_string()).with_context(|| format!("{path} = {value}"))
    }

    /// As fast as possible, and without faults.
    pub fn reset() -> Result<()> {
        let faults = ["status_steps", "status", "hang", "fail_page", "blind_bpf", "hold_memory"];
        let faults = faults.map(|knob| (knob, 0));
        FAST.iter().chain(&faults).try_for_each(|(knob, value)| Firmware::set(knob, *value))
    }

    /// As slow as hardware.
    pub fn as_published() -> Result<()> {
        PUBLISHED.iter().try_for_each(|(knob, value)| Firmware::set(knob, *value))
    }
}

impl Launch {
    fn parse(address: u64, numbers: &[&str]) -> Result<Launch> {
        let numbers: Vec<u64> = numbers.iter().map(|n| n.parse()).collect::<Result<_, _>>()?;
        let [commands, pages, busy_ns, begin_ns, end_ns, failed] = numbers[..] else {
            bail!("{} numbers of a launch", numbers.len());
        };
        Ok(Launch { address, commands, pages, busy_ns, begin_ns, end_ns, failed })
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

    #[test]
    fn launches_are_numbered() {
        let before = Firmware::parse("launches 1\nlaunch 0x1000 0 4 1 90 5 99 0\n").unwrap();
        let text = "launches 2\nlaunch 0x1000 0 6 2 95 5 120 1\nlaunch 0x1000 1 3 0 9 200 210 0\n";
        let after = Firmware::parse(text).unwrap();
        let new = Launch {
            address: 0x1000,
            commands: 3,
            pages: 0,
            busy_ns: 9,
            begin_ns: 200,
            end_ns: 210,
            failed: 0,
        };
        assert_eq!(after.launches_since(&before).unwrap(), [new]);
        let forgotten = Firmware::parse("launches 3\nlaunch 0x1000 2 3 0 9 200 210 0\n").unwrap();
        assert!(forgotten.launches_since(&before).is_err());
    }

    #[test]
    fn published_times_are_the_module_s_defaults() {
        let times = include_str!("../../snpsim/times.c");
        for (knob, value) in PUBLISHED {
            let line = times.lines().find(|line| line.contains(&format!("int {knob}"))).unwrap();
            let default = line.split_once('=').map_or("0", |(_, value)| value);
            assert_eq!(default.trim_matches([' ', ';']), value.to_string(), "{knob}");
        }
    }
}
