//! # Collecting a report

use std::io;

use anyhow::{Result, anyhow};
use serde_json::Value;

use super::{
    Contents, Missing, Options, Tables,
    answers::Writer,
    facts::Facts,
    gather::{Answers, Bounded, pids},
    logs,
    manifest::Manifest,
    policy,
    processes::{self, Processes},
    pseudonyms::{Names, Pseudonyms},
    reduced,
    tree::Tree,
};
use crate::{
    config::Config,
    doctor::{self, Checked, Group, Host, Real},
    host::system::System,
    json, kernel,
    wire::events::Time,
};

const OTHER_HOST: &str = "--procfs and --sysfs are copies of another host's files";
const NO_ANSWER: &str = "agent, vms, psp, launches, explained, events, metrics";

/// All that is collected, with its names.
struct Raw {
    doctor: doctor::Report,
    facts: Facts,
    tree: Tree,
    answers: Result<Answers>,
    /// What is configured, without an agent.
    policy: Result<Value>,
    processes: Processes,
    kernel_log: Result<Bounded>,
    agent_log: Result<Bounded>,
    hostname: String,
    root: bool,
}

/// Everything that this user may see.
pub fn collect(system: &System, options: &Options, tables: &Tables, now: Time) -> Result<Contents> {
    Raw::read(system, options, now).assemble(options.names, tables, now)
}

impl Raw {
    fn assemble(mut self, keeps_names: bool, tables: &Tables, now: Time) -> Result<Contents> {
        let explained = self.answers.iter_mut().flat_map(|answers| &mut answers.explained);
        explained.flatten().for_each(reduced::evidence);
        let names = if keeps_names { Pseudonyms::none() } else { self.names().finish() };
        let (root, mut contents) = (self.root, Contents::default());
        self.put(&mut contents, &names, tables)?;
        for Missing { why, .. } in contents.missing.iter_mut().chain(&mut contents.cut) {
            *why = names.text(why);
        }
        let manifest = Manifest::of(&contents, now.to_the_second(), names.are_used(), root);
        let (json, text) = (manifest.json()?, manifest.text());
        // However long the others are.
        for (file, text) in [("MANIFEST.json", json), ("MANIFEST.md", text)] {
            contents.files.insert(file.to_owned(), Some(text.into()));
        }
        Ok(contents)
    }

    fn read(system: &System, options: &Options, now: Time) -> Raw {
        let Options { config, socket, .. } = options;
        let live = Real { config: config.clone(), socket: socket.clone() };
        let host = Host::new(system.clone(), &live);
        let default = Config::default().socket;
        let configured = host.config.as_ref().map_or(&default, |config| &config.socket);
        let is_here = || if system.is_collected() { Err(anyhow!(OTHER_HOST)) } else { Ok(()) };
        let socket = socket.as_ref().unwrap_or(configured);
        let answers = is_here().and_then(|()| Answers::of(socket));
        let vms = answers.as_ref().ok().and_then(|answers| answers.vms.as_ref().ok());
        let processes = processes::find(system, &vms.map_or_else(Vec::new, pids));
        let version = host.agent().map(|agent| agent.version.as_str());
        let elsewhere = is_here().map(|()| Config::default());
        let config = if elsewhere.is_ok() { &host.config } else { &elsewhere };
        let (copies, record) = system.as_recorded_copies();
        doctor::examine(&Host::new(copies, &live));
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        let kernel_log = kernel::log::read().map_err(|error| match denied(&error) {
            true => anyhow!("needs root"),
            false => error.into(),
        });
        Raw {
            doctor: doctor::examine(&host),
            facts: Facts::read(system, config, &host.symbols, version),
            policy: policy::configured(config, &processes, now),
            tree: Tree::of(system, &record),
            processes,
            kernel_log: is_here().and(kernel_log).map(|log| logs::of_kernel(&log)),
            agent_log: is_here().and_then(|()| logs::of_agent()),
            hostname: system.read("/proc/sys/kernel/hostname").unwrap_or_default(),
            root: kernel::capabilities(host.capabilities).is_ok(),
            answers,
        }
    }

    /// All names in it.
    fn names(&mut self) -> Names {
        let mut names = Names::default();
        names.of_host(&self.hostname);
        if let Ok(answers) = &self.answers {
            let Answers { agent, vms, psp, launches, policy, explained, events, metrics } = answers;
            let all = [agent, vms, psp, launches, policy].into_iter().chain(explained);
            all.flatten().for_each(|answer| names.of_json(answer));
            if let Ok(events) = events {
                events.all.iter().for_each(|event| names.of_json(event));
            }
            if let Ok(Bounded { text, .. }) = metrics {
                names.of_metrics(text);
            }
        }
        self.policy.iter().for_each(|policy| names.of_json(policy));
        names.of_json(&self.processes.json());
        if let Ok(Bounded { text, .. }) = &self.agent_log {
            names.of_text(text);
        }
        self.facts.texts().for_each(|text| names.of_text(text));
        for check in self.doctor.checks.iter().filter(|check| tells_names(check)) {
            [Some(&check.why), check.fix.as_ref()]
                .into_iter()
                .flatten()
                .for_each(|it| names.of_text(it));
        }
        names
    }

    fn put(self, contents: &mut Contents, names: &Pseudonyms, tables: &Tables) -> Result<()> {
        let Raw { mut doctor, mut facts, answers, processes, .. } = self;
        for check in &mut doctor.checks {
            let shown = |text: &String| match tells_names(check) {
                true => names.text(text),
                false => names.plain(text),
            };
            (check.why, check.fix) = (shown(&check.why), check.fix.as_ref().map(shown));
        }
        contents.add_json("doctor.json", "guestreq doctor -o json", &json::to_value(&doctor)?)?;
        contents.add("doctor.txt", "guestreq doctor", (tables.doctor)(&doctor).into());
        facts.texts().for_each(|text| *text = names.text(text));
        contents.add_json(
            "facts.json",
            "versions, LSMs, symbols, BTF, parameters",
            &facts.json(),
        )?;
        contents.add("facts.txt", "the same", facts.text().into());
        // Before what may be long.
        add_tree(contents, self.tree, names);
        let mut writer = Writer { contents, names, tables };
        match answers {
            Ok(answers) => writer.all(answers)?,
            Err(why) => {
                writer.policy("as configured: no agent answered", self.policy)?;
                contents.miss(NO_ANSWER, format!("{why:#}"));
            }
        }
        let mut all = processes.json();
        names.json(&mut all);
        contents.add_json("processes.json", "VMMs, how each was identified, cgroups", &all)?;
        for why in processes.missing {
            contents.miss("processes.json", why);
        }
        for (file, about, log) in [
            ("kernel-log.txt", "the kernel's lines about SNP", self.kernel_log),
            ("agent-log.txt", "the agent's log since the last boot", self.agent_log),
        ] {
            match log {
                Ok(Bounded { text, is_cut }) => {
                    if is_cut {
                        let to = format!("the latest {} lines, or 2 MiB", logs::MOST_LINES);
                        contents.cut(file, to);
                    }
                    contents.add(file, about, names.text(&text).into());
                }
                Err(why) => contents.miss(file, format!("{why:#}")),
            }
        }
        Ok(())
    }
}

/// Only messages about the configuration and policies name VMs; what others quote are lines of the
/// kernel's log.
fn tells_names(check: &Checked) -> bool {
    check.group == Group::Agent
}

fn add_tree(contents: &mut Contents, mut tree: Tree, names: &Pseudonyms) {
    if names.are_used() {
        tree.rename_cgroups();
    }
    contents.missing.append(&mut tree.missing);
    for (path, bytes) in tree.files {
        let path = format!("host{path}");
        match bytes {
            Some(bytes) => contents.add(&path, "a copy", bytes),
            None => drop(contents.files.insert(path, None)),
        }
    }
}

#[cfg(test)]
mod tests;
