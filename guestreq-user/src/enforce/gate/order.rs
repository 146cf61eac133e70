//! # The gate's order
//!
//! Its numbers, who waits in it, and its switch. docs/order.md says what it does.

use std::{collections::BTreeMap, fs, io, path::Path};

use anyhow::{Context as _, Result, ensure};
use guestreq_common::{gate::Weight, units::GuestContext};

use super::{PARAMETERS, parse_number, refused};
use crate::host::system::System;

/// Who waits, the next one first.
const WAITERS: &str = "/proc/guestreq_gate";

/// The order at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// How many requests have a slot at a time; 0: the order is off.
    pub depth: u64,
    /// Percent of the PSP's time for which launches may hold requests.
    pub launch_share: u64,
    pub counts: Counts,
}

/// Counts since the gate was loaded, of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that wait now.
    pub waiting: u64,
    /// Requests that have a slot now; more than `depth` if some are overdue, or beside many launches.
    pub in_flight: u64,
    /// Requests that got a slot, or were overdue. One that is killed at that moment is taken back.
    pub grants: u64,
    /// Requests that went to the PSP without a slot, because the order stood still.
    pub overdue: u64,
    pub killed: u64,
    /// Of waits that have ended.
    pub wait_ns: u64,
    pub held_ns: u64,
    pub launch_ns: u64,
    pub request_ns: u64,
}

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    pub context: GuestContext,
    /// 0 if the reader's PID namespace does not have it.
    pub tgid: u32,
    pub weight: Weight,
    /// In virtual time: the lowest is next.
    pub start: i64,
    pub waited_ns: u64,
}

impl Order {
    /// `None` without a gate, or if it has no order: one of an older release, or of a patched ccp.
    pub fn read(system: &System) -> Result<Option<Order>> {
        let parameters = system.path(PARAMETERS);
        let read = |name: &str| if_there(&parameters.join(name));
        let (Some(order), Some(depth), Some(launch_share)) =
            (read("order")?, read("depth")?, read("launch_share")?)
        else {
            return Ok(None);
        };
        let number = |name: &str, text: &str| {
            parse_number(text.trim()).with_context(|| format!("{name}: {:?}", text.trim()))
        };
        let counts = Counts::parse(&order).with_context(|| format!("{PARAMETERS}/order"))?;
        let depth = number("depth", &depth)?;
        let launch_share = number("launch_share", &launch_share)?;
        ensure!(launch_share <= 100, "launch_share: {launch_share} percent");
        Ok(Some(Order { depth, launch_share, counts }))
    }

    /// How many slots are free while somebody waits for one. That is so only while launches hold
    /// requests.
    pub fn held_slots(&self) -> u64 {
        let Counts { waiting, in_flight, .. } = self.counts;
        self.depth.saturating_sub(in_flight).min(waiting)
    }

    /// Requests that wait no longer, whatever became of them. Unlike `grants` it never decreases.
    pub fn ended(&self) -> u64 {
        self.counts.grants.saturating_add(self.counts.killed)
    }
}

impl Counts {
    /// Lines `NAME NUMBER`. A newer gate may have further ones.
    fn parse(text: &str) -> Result<Counts> {
        let mut numbers = BTreeMap::new();
        for line in text.lines() {
            let pair = line.split_once(' ');
            let (name, number) = pair
                .and_then(|(name, number)| Some((name, decimal(number)?)))
                .with_context(|| format!("not a name and a number: {line:?}"))?;
            ensure!(numbers.insert(name, number).is_none(), "{name:?} is there twice");
        }
        let number =
            |name| numbers.get(name).copied().with_context(|| format!("{name} is missing"));
        Ok(Counts {
            waiting: number("waiting")?,
            in_flight: number("in_flight")?,
            grants: number("grants")?,
            overdue: number("overdue")?,
            killed: number("killed")?,
            wait_ns: number("wait_ns")?,
            held_ns: number("held_ns")?,
            launch_ns: number("launch_ns")?,
            request_ns: number("request_ns")?,
        })
    }
}

/// Those that wait, the next one first; nobody without a gate.
pub fn waiters(system: &System) -> Result<Vec<Waiter>> {
    let path = system.path(WAITERS);
    let text = match fs::read_to_string(&path) {
        // What ENODEV is for a parameter: it was opened, and then removed.
        Err(error) if error.raw_os_error() == Some(libc::EIO) => None,
        read => or_removed(&path, read)?,
    };
    let text = text.unwrap_or_default();
    let waiter = |line: &str| {
        Waiter::parse(line).with_context(|| format!("{WAITERS}: not a waiting request: {line:?}"))
    };
    text.lines().map(waiter).collect()
}

impl Waiter {
    /// `CONTEXT PID WEIGHT START WAITED`
    fn parse(line: &str) -> Option<Waiter> {
        let mut words = line.split(' ');
        let context = words.next()?.strip_prefix("0x")?;
        let waiter = Waiter {
            context: GuestContext(hexadecimal(context)?),
            tgid: decimal(words.next()?)?.try_into().ok()?,
            weight: Weight::new(decimal(words.next()?)?.try_into().ok()?)?,
            start: signed(words.next()?)?,
            waited_ns: decimal(words.next()?)?,
        };
        words.next().is_none().then_some(waiter)
    }
}

/// Switches the order off, or on unless it is. Returns whether that changed anything; `None` without
/// a gate that has an order.
pub fn switch(system: &System, on: bool) -> Result<Option<bool>> {
    let path = system.path(&format!("{PARAMETERS}/depth"));
    let Some(text) = if_there(&path)? else { return Ok(None) };
    let depth = parse_number(text.trim());
    let depth = depth.with_context(|| format!("{}: {:?}", path.display(), text.trim()))?;
    if (depth > 0) == on {
        return Ok(Some(false));
    }
    fs::write(&path, if on { "1" } else { "0" }).map_err(|error| refused(&path, error))?;
    Ok(Some(true))
}

/// A file's text, if there is one.
fn if_there(path: &Path) -> Result<Option<String>> {
    or_removed(path, fs::read_to_string(path))
}

/// The gate's files go when it is removed.
fn or_removed(path: &Path, read: io::Result<String>) -> Result<Option<String>> {
    match read {
        Ok(text) => Ok(Some(text)),
        // Of a parameter that is open while it is removed.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(path, error)),
    }
}

/// As the kernel writes it: without a sign.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn signed(text: &str) -> Option<i64> {
    decimal(text.strip_prefix('-').unwrap_or(text))?;
    text.parse().ok()
}

fn hexadecimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests;
