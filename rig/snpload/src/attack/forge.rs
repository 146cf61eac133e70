//! # Forged arguments
//!
//! /proc/PID/cmdline reads a process's own memory, so a process can change its arguments at any
//! time.

use std::fs;

use anyhow::{Context as _, Result, ensure};

pub struct Forger {
    /// The address of the arguments.
    start: u64,
    /// For each turn, arguments that fill that memory.
    lies: Vec<Vec<u8>>,
}

/// The thread's name, as ps shows it.
const COMM: &[u8] = b"qemu-system-x86\0";

impl Forger {
    /// Takes these names in turn, as VMs of QEMU.
    pub fn new(names: &[String]) -> Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
        let (start, end) = arguments(&stat).context("no address of arguments")?;
        let room = (end - start) as usize;
        let lies = names.iter().map(|name| lie(name, room)).collect::<Result<_>>()?;
        Ok(Self { start, lies })
    }

    /// Gives the process and all that share its memory the name of this turn, and the thread
    /// QEMU's.
    pub fn take_name(&self, turn: usize) {
        let Some(lie) = self.lies.get(turn % self.lies.len().max(1)) else { return };
        for (address, byte) in (self.start..).zip(lie) {
            // SAFETY: inside the process's arguments, which the kernel put into writable memory
            // and of which nobody here keeps references; as long as they are.
            unsafe { (address as *mut u8).write_volatile(*byte) };
        }
        // SAFETY: a string that ends, which the call copies.
        unsafe { libc::prctl(libc::PR_SET_NAME, COMM.as_ptr()) };
    }
}

/// `arg_start` and `arg_end`, fields 48 and 49 of stat; a process may have any name in field 2.
fn arguments(stat: &str) -> Option<(u64, u64)> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(48 - 3);
    let (start, end) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (start > 0 && end > start).then_some((start, end))
}

/// QEMU's arguments with this name, padded with empty ones.
fn lie(name: &str, room: usize) -> Result<Vec<u8>> {
    let mut lie = format!("qemu-system-x86_64\0-name\0guest={name}\0").into_bytes();
    ensure!(lie.len() <= room, "{} bytes of arguments do not fit into {room}", lie.len());
    lie.resize(room, 0);
    Ok(lie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_found_after_any_name() {
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        let stat = format!("7 (a) b) {}", fields.join(" "));
        assert_eq!(arguments(&stat), Some((48, 49)));
        assert_eq!(arguments("7 (a) S 1"), None);
    }

    #[test]
    fn forged_arguments_fill_the_old_ones() {
        let made = lie("good", 60).unwrap();
        assert!(made.starts_with(b"qemu-system-x86_64\0-name\0guest=good\0\0") && made.len() == 60);
        assert!(lie("good", 30).is_err());
    }
}
