//! # Root with less than root's powers
//!
//! A process with uid 0 and few capabilities, as in a container, tries each of the gate's
//! parameters and prints the results.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::process::CommandExt as _,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::gate::{Gate, WHO_WAITS};

pub const SYS_MODULE: u32 = 16;
pub const SYS_ADMIN: u32 = 21;

/// Linux' capabilities, without CAP_.
const NAMED: [(&str, u32); 6] = [
    ("SYS_MODULE", SYS_MODULE),
    ("SYS_ADMIN", SYS_ADMIN),
    ("SYS_NICE", 23),
    ("SYSLOG", 34),
    ("PERFMON", 38),
    ("BPF", 39),
];

pub fn numbered(name: &str) -> Result<u32> {
    let found = NAMED.iter().find(|(known, _)| *known == name);
    Ok(found.with_context(|| format!("no number is known of CAP_{name}"))?.1)
}

/// What a process may do.
#[derive(Debug, PartialEq)]
pub struct Privileges {
    /// Its bounding set.
    pub capabilities: BTreeSet<u32>,
    pub no_new_privileges: bool,
    /// Whether a filter decides on its system calls.
    pub is_filtered: bool,
}

impl Privileges {
    pub fn of(pid: u32) -> Result<Privileges> {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).context(path)?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim).with_context(|| name.to_owned())
        };
        let mask = u64::from_str_radix(field("CapBnd:")?, 16)?;
        Ok(Privileges {
            capabilities: (0..64).filter(|bit| mask >> bit & 1 == 1).collect(),
            no_new_privileges: field("NoNewPrivs:")? == "1",
            is_filtered: field("Seccomp:")? == "2",
        })
    }
}

/// All capabilities of this kernel.
pub fn all() -> Result<Vec<u32>> {
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").context("cap_last_cap")?;
    Ok((0..=last.trim().parse().context("cap_last_cap")?).collect())
}

/// Runs a command with uid 0 and only these capabilities in its bounding set.
pub fn root_with<'a>(command: &'a mut Command, kept: &[u32]) -> Result<&'a mut Command> {
    let dropped: Vec<u32> = all()?.into_iter().filter(|number| !kept.contains(number)).collect();
    let drop_them = move || {
        for number in &dropped {
            // SAFETY: takes numbers.
            if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, *number, 0, 0, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec it only makes system calls; the vector was made before.
    Ok(unsafe { command.pre_exec(drop_them) })
}

/// The errno of reading and writing each parameter, or 0.
pub type Answers = BTreeMap<String, i32>;

/// Tries the gate's parameters in a process with fewer privileges.
pub fn tried(
    lessen: impl for<'a> FnOnce(&'a mut Command) -> Result<&'a mut Command>,
) -> Result<Answers> {
    let mut command = Command::new("/bin/scenarios");
    let output = lessen(command.arg("try-parameters"))?.output().context("trying parameters")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "trying parameters: {}", stderr.trim());
    let line = |line: &str| {
        let (what, errno) = line.rsplit_once(' ')?;
        Some((what.to_owned(), errno.parse().ok()?))
    };
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|text| line(text).with_context(|| format!("{text:?}"))).collect()
}

/// The hidden command `try-parameters`.
pub fn try_parameters() -> Result<()> {
    // Written first, so that a self-test can be read.
    for (name, value) in [
        ("self_test", "7"),
        ("closed", "Y"),
        ("depth", "0"),
        ("launch_share", "100"),
        ("admitted", "7"),
    ] {
        println!("write {name} {}", errno(fs::write(Gate::path(name), value)));
    }
    println!("read who waits {}", errno(fs::read(WHO_WAITS)));
    for entry in fs::read_dir(Gate::path("")).context("parameters")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        println!("read {name} {}", errno(fs::read(Gate::path(&name))));
    }
    Ok(())
}

fn errno<T>(result: io::Result<T>) -> i32 {
    result.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1))
}
