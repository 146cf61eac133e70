//! # Collecting a report

use std::io;

use anyhow::{Result, anyhow};

use super::{
    Contents, Missing, Options, Tables,
    answers::Writer,
    facts::Facts,
    gather::{Answers, Bounded, pids},
    logs,
    manifest::Manifest,
    processes::{self, Processes},
    pseudonyms::{Names, Pseudonyms},
    tree::Tree,
};
use crate::{
    config::Config,
    doctor::{self, Host, Real},
    host::system::System,
    kernel,
    wire::events::Time,
};

const OTHER_HOST: &str = "--procfs and --sysfs are copies of another host's files";
const NO_ANSWER: &str = "agent, vms, psp, launches, policy, limits, explained, events, metrics";

/// All that is collected, with its names.
struct Raw {
    doctor: doctor::Report,
    facts: Facts,
    tree: Tree,
    answers: Result<Answers>,
    processes: Processes,
    kernel_log: Result<String>,
    agent_log: Result<String>,
    hostname: String,
    root: bool,
}

/// Everything that this user may see.
pub fn collect(system: &System, options: &Options, tables: &Tables, now: Time) -> Result<Contents> {
    Raw::read(system, options).assemble(options.names, tables, now)
}

impl Raw {
    fn assemble(self, keeps_names: bool, tables: &Tables, now: Time) -> Result<Contents> {
        let names = if keeps_names { Pseudonyms::none() } else { self.names().finish() };
        let (root, mut contents) = (self.root, Contents::default());
        self.put(&mut contents, &names, tables)?;
        for Missing { why, .. } in contents.missing.iter_mut().chain(&mut contents.cut) {
            *why = names.text(why);
        }
        let manifest = Manifest::of(&contents, now.to_the_second(), names.are_used(), root);
        let (json, text) = (manifest.json()?, manifest.text());
        contents.add("MANIFEST.json", "this list, for programs", json.into());
        contents.add("MANIFEST.md", "this list", text.into());
        Ok(contents)
    }

    fn read(system: &System, options: &Options) -> Raw {
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
        let (copies, record) = system.as_recorded_copies();
        doctor::examine(&Host::new(copies, &live));
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        let kernel_log = kernel::log::read().map_err(|error| match denied(&error) {
            true => anyhow!("needs root"),
            false => error.into(),
        });
        Raw {
            doctor: doctor::examine(&host),
            facts: Facts::read(system, &host.config, &host.symbols, version),
            tree: Tree::of(system, &record),
            processes,
            kernel_log: is_here().and(kernel_log),
            agent_log: is_here().and_then(|()| logs::of_agent()),
            hostname: system.read("/proc/sys/kernel/hostname").unwrap_or_default(),
            root: kernel::capabilities(host.capabilities).is_ok(),
            answers,
        }
    }

    /// All names in it.
    fn names(&self) -> Names {
        let mut names = Names::default();
        names.of_host(&self.hostname);
        if let Ok(answers) = &self.answers {
            let Answers { agent, vms, psp, launches, policy, explained, events, metrics } = answers;
            let all = [agent, vms, psp, launches, policy].into_iter().chain(explained);
            all.flatten().for_each(|answer| names.of_json(answer));
            if let Ok((events, _)) = events {
                events.iter().for_each(|event| names.of_json(event));
            }
            if let Ok(Bounded { text, .. }) = metrics {
                names.of_metrics(text);
            }
        }
        names.of_json(&self.processes.json());
        for log in [&self.kernel_log, &self.agent_log].into_iter().flatten() {
            names.of_text(log);
        }
        for bytes in self.tree.files.values().flatten() {
            names.of_words(&String::from_utf8_lossy(bytes));
        }
        names
    }

    fn put(self, contents: &mut Contents, names: &Pseudonyms, tables: &Tables) -> Result<()> {
        let Raw { mut doctor, mut facts, mut tree, answers, processes, .. } = self;
        for check in &mut doctor.checks {
            check.why = names.text(&check.why);
            check.fix = check.fix.as_ref().map(|fix| names.text(fix));
        }
        contents.add_json("doctor.json", "guestreq doctor -o json", &doctor)?;
        contents.add("doctor.txt", "guestreq doctor", (tables.doctor)(&doctor).into());
        facts.rename(|text| names.text(text));
        contents.add_json(
            "facts.json",
            "versions, LSMs, symbols, BTF, parameters",
            &facts.json(),
        )?;
        contents.add("facts.txt", "the same", facts.text().into());
        match answers {
            Ok(answers) => Writer { contents, names, tables }.all(answers)?,
            Err(why) => contents.miss(NO_ANSWER, format!("{why:#}")),
        }
        let mut all = processes.json();
        names.json(&mut all);
        contents.add_json("processes.json", "VMMs, how each was identified, cgroups", &all)?;
        for why in processes.missing {
            contents.miss("processes.json", why);
        }
        let kernel_log = self.kernel_log.map(|log| logs::of_kernel(&log));
        for (file, about, log) in [
            ("kernel-log.txt", "the kernel's lines about SNP", kernel_log),
            ("agent-log.txt", "the agent's log since the last boot", self.agent_log),
        ] {
            match log {
                Ok(log) if log.lines().count() >= logs::MOST_LINES => {
                    contents.cut(file, format!("the latest {} lines", logs::MOST_LINES));
                    contents.add(file, about, names.text(&log).into());
                }
                Ok(log) => contents.add(file, about, names.text(&log).into()),
                Err(why) => contents.miss(file, format!("{why:#}")),
            }
        }
        tree.rename_cgroups(|name| names.text(name));
        contents.missing.append(&mut tree.missing);
        for (path, bytes) in tree.files {
            let path = format!("host{path}");
            match bytes {
                Some(bytes) => contents.add(&path, "a copy", bytes),
                None => drop(contents.files.insert(path, None)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
