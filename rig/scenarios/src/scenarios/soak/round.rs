//! # Rounds

use std::{fmt::Write as _, fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    agent::{self, Agent, cli, json},
    bpf,
    host::wait_until,
    load::{self, Load},
    scenarios::{counting::resident_kib, takeover},
};

/// Kinds of rounds.
const KINDS: u32 = 4;
/// Rounds of an agent in a long run: enough to show a leak.
const LIFE: u32 = 48;
const UNLOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// An agent's largest permitted resident memory.
const MOST_KIB: u64 = 32 << 10;
/// Allocators keep some freed memory.
const SLACK_KIB: u64 = 2 << 10;
const CONFIG: &str = takeover::CONFIG;

pub struct Soak {
    pub agent: Agent,
    rounds: u32,
    is_long: bool,
    reloads: u32,
    changes: u32,
    kills: u32,
    stops: u32,
    visitors: Vec<Load>,
    visited: u32,
    /// KiB of each agent before its end.
    resident: Vec<u64>,
    /// Programs and links after the first takeover.
    loaded: Option<(usize, usize)>,
}

/// Two versions of the configuration.
pub fn lines(version: u32) -> String {
    let rate = 30 + version % 2 * 10;
    format!(
        "keep_exited_vms = \"60s\"\n[[vm]]\nmatch = {{ name = \"greedy\" }}\nlimit = {{ rate = \
         \"{rate}/s\", burst = 10 }}\n"
    )
}

impl Soak {
    pub fn start(is_long: bool) -> Result<Soak> {
        Ok(Soak {
            agent: takeover::start(&[])?,
            rounds: 0,
            is_long,
            reloads: 0,
            changes: 0,
            kills: 0,
            stops: 0,
            visitors: Vec::new(),
            visited: 0,
            resident: Vec::new(),
            loaded: None,
        })
    }

    pub fn is_complete(&self) -> bool {
        [self.reloads, self.changes, self.visited, self.kills, self.stops].iter().all(|&n| n > 0)
    }

    /// Checks the agent and makes one change.
    pub fn round(&mut self) -> Result<()> {
        let metrics = self.agent.scrape()?;
        let failed = metrics.sum("guestreq_config_last_reload_successful", &[]) != 1.0;
        ensure!(!failed, "the configuration is not read: {}", agent::log());
        json("vms")?;
        cli(&["psp"])?;
        match self.rounds % KINDS {
            0 => self.reload()?,
            1 => self.change()?,
            2 => self.visit()?,
            _ if !self.is_long || self.rounds % LIFE == LIFE - 1 => self.replace_agent()?,
            _ => {}
        }
        self.rounds += 1;
        thread::sleep(Duration::from_millis(500));
        Ok(())
    }

    fn reload(&mut self) -> Result<()> {
        self.reloads += 1;
        let text = fs::read_to_string(CONFIG).context(CONFIG)?;
        let (own, _) = text.split_once("keep_exited_vms").context("another configuration")?;
        let new = format!("{CONFIG}.new");
        fs::write(&new, format!("{own}{}", lines(self.reloads)))?;
        fs::rename(new, CONFIG).context(CONFIG)
    }

    fn change(&mut self) -> Result<()> {
        self.changes += 1;
        let change: &[&str] = match self.changes % 2 {
            0 => &["limit", "clear", "--default"],
            _ => &["limit", "set", "--default", "--rate", "50/s", "--burst", "20"],
        };
        cli(change).map(drop)
    }

    /// Starts a short-lived VM.
    fn visit(&mut self) -> Result<()> {
        let mut here = Vec::new();
        for mut visitor in self.visitors.drain(..) {
            if visitor.is_running()? {
                here.push(visitor);
            } else {
                visitor.finish()?;
            }
        }
        self.visited += 1;
        let name = format!("visitor{}", self.visited);
        here.push(load::start(&format!("--vmm qemu --name {name} --type report,key --count 5"))?);
        self.visitors = here;
        Ok(())
    }

    pub fn finish_visitors(&mut self) -> Result<()> {
        self.visitors.drain(..).try_for_each(|visitor| visitor.finish().map(drop))
    }

    /// Kills or stops the agent and starts the next one.
    fn replace_agent(&mut self) -> Result<()> {
        self.resident.push(resident_kib(self.agent.pid())?);
        let by = if (self.kills + self.stops).is_multiple_of(2) {
            self.kills += 1;
            libc::SIGKILL
        } else {
            self.stops += 1;
            libc::SIGTERM
        };
        takeover::replace_agent(&mut self.agent, by)?;
        self.loaded.get_or_insert_with(bpf::loaded);
        Ok(())
    }

    pub fn summary(&self) -> String {
        format!(
            "{} rounds: {} reloads, {} changes of limits, {} VMs came and went, {} agents killed, \
             {} stopped",
            self.rounds, self.reloads, self.changes, self.visited, self.kills, self.stops
        )
    }

    /// Resident KiB of each agent before its end.
    pub fn memory(&self) -> String {
        let mut text = "resident at each agent's end, in KiB:".to_owned();
        for kib in &self.resident {
            let _ = write!(text, " {kib}");
        }
        text
    }

    /// Later agents use no more memory than earlier ones, and no more programs and links are
    /// loaded.
    pub fn is_flat(&self) -> Result<()> {
        let most = |of: &[u64]| of.iter().max().copied().unwrap_or(0);
        ensure!(most(&self.resident) < MOST_KIB, "{}", self.memory());
        // The first one has not taken over anything, and a few values show no trend.
        let others = self.resident.get(1..).unwrap_or_default();
        let third = others.len() / 3;
        if third >= 2 {
            let (early, late) = (most(&others[..third]), most(&others[others.len() - third..]));
            ensure!(late <= early + SLACK_KIB, "{early} KiB resident at first, {late} at last");
        }
        wait_until("as much is loaded as after the first takeover", UNLOAD_TIMEOUT, || {
            Ok(Some(bpf::loaded()) == self.loaded)
        })
        .with_context(|| format!("{:?}, first {:?}", bpf::loaded(), self.loaded))
    }

    /// All VMs have exited: their map entries are gone.
    pub fn slots_are_freed(&mut self) -> Result<()> {
        let text = fs::read_to_string(CONFIG).context(CONFIG)?;
        fs::write(CONFIG, text.replace("\"60s\"", "\"1s\"")).context(CONFIG)?;
        self.agent.wait_until("all slots are free", |metrics| {
            ["vms", "threads", "contexts"].iter().all(|map| metrics.is_map_empty(map))
        })?;
        Ok(())
    }
}
