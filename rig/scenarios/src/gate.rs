//! # The gate
//!
//! The kernel module that lets an LSM program decide; here as users load and read it.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::host;

const PARAMETERS: &str = "/sys/module/guestreq_gate/parameters";

/// Who waits in the order.
pub const WHO_WAITS: &str = "/proc/guestreq_gate";

/// A loaded gate; removed when dropped.
pub struct Gate {
    loaded: bool,
}

/// What the gate counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateCounts {
    pub admitted: u64,
    pub denied: u64,
    pub busy: u64,
    pub unanswered: u64,
}

/// The gate's parameter `order`.
#[derive(Clone, Debug)]
pub struct Order(BTreeMap<String, u64>);

impl Order {
    pub fn of(&self, name: &str) -> Result<u64> {
        self.0.get(name).copied().with_context(|| format!("no {name} in {self:?}"))
    }
}

/// A request that waits in the order.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiter {
    pub context: u64,
    pub pid: u32,
    pub weight: u32,
    pub start_ns: i64,
    pub waited_ns: u64,
}

/// Those that wait, the next one first.
pub fn waiters() -> Result<Vec<Waiter>> {
    let text = fs::read_to_string(WHO_WAITS).context(WHO_WAITS)?;
    let line = |line: &str| {
        let [context, pid, weight, start, waited] =
            line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        Some(Waiter {
            context: u64::from_str_radix(context.strip_prefix("0x")?, 16).ok()?,
            pid: pid.parse().ok()?,
            weight: weight.parse().ok()?,
            start_ns: start.parse().ok()?,
            waited_ns: waited.parse().ok()?,
        })
    };
    text.lines().map(|text| line(text).with_context(|| format!("{text:?}"))).collect()
}

impl GateCounts {
    pub fn sum(&self) -> u64 {
        self.admitted + self.denied + self.busy + self.unanswered
    }
}

impl Gate {
    pub fn load(parameters: &[&str]) -> Result<Gate> {
        host::insmod("guestreq_gate", parameters)?;
        Ok(Gate { loaded: true })
    }

    /// Loaded by another command.
    pub fn load_by(insmod: &mut Command) -> Result<Gate> {
        let output = insmod.output().with_context(|| format!("{insmod:?}"))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{insmod:?}: {}", stderr.trim());
        Ok(Gate { loaded: true })
    }

    pub fn remove(mut self) -> Result<()> {
        self.loaded = false;
        host::rmmod("guestreq_gate")
    }

    pub fn path(parameter: &str) -> String {
        format!("{PARAMETERS}/{parameter}")
    }

    pub fn get(&self, parameter: &str) -> Result<String> {
        let text = fs::read_to_string(Gate::path(parameter)).context(parameter.to_owned())?;
        Ok(text.trim_end().to_owned())
    }

    pub fn set(&self, parameter: &str, value: &str) -> Result<()> {
        fs::write(Gate::path(parameter), value).with_context(|| format!("{parameter} = {value}"))
    }

    pub fn counts(&self) -> Result<GateCounts> {
        let count = |name: &str| self.get(name)?.parse().context(name.to_owned());
        Ok(GateCounts {
            admitted: count("admitted")?,
            denied: count("denied")?,
            busy: count("busy")?,
            unanswered: count("unanswered")?,
        })
    }

    /// What the gate's order counted, by name.
    pub fn order(&self) -> Result<Order> {
        let text = self.get("order")?;
        let line = |line: &str| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_owned(), number.parse().ok()?))
        };
        let order: Option<_> = text.lines().map(line).collect();
        Ok(Order(order.with_context(|| format!("order: {text:?}"))?))
    }

    /// The result of a self-test with this nonce.
    pub fn self_test(&self, nonce: u64) -> Result<String> {
        self.set("self_test", &nonce.to_string())?;
        self.get("self_test")
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.loaded {
            let _ = host::rmmod("guestreq_gate");
        }
    }
}
