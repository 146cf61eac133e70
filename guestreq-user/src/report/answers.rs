//! # The agent's answers as files
//!
//! As JSON and as the command line's tables, both without names.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Contents, Tables,
    gather::{Answers, Bounded, Events, MOST_EVENTS, MOST_EXPLAINED},
    pseudonyms::Pseudonyms,
};
use crate::{
    json,
    wire::{Psp, Vms, events::Event, explain::Explained, launches::Launches, policy::Policies},
};

pub struct Writer<'a> {
    pub contents: &'a mut Contents,
    pub names: &'a Pseudonyms,
    pub tables: &'a Tables,
}

/// Files of an answer: name, what it is, and its table.
type Table<'a, T> = (&'a str, &'a str, &'a dyn Fn(&T) -> String);

impl Writer<'_> {
    pub fn all(mut self, answers: Answers) -> Result<()> {
        let Tables { vms, psp, launches, explained, events, .. } = *self.tables;
        self.json("agent", "GET /v1/agent", answers.agent)?;
        let vms = ("vms.txt", "guestreq vms", &vms as &dyn Fn(&Vms) -> String);
        self.answer("vms", "guestreq vms -o json", answers.vms, &[vms])?;
        let psp = ("psp.txt", "guestreq psp", &psp as &dyn Fn(&Psp) -> String);
        self.answer("psp", "guestreq psp -o json", answers.psp, &[psp])?;
        let launches: Table<'_, Launches> = ("launches.txt", "guestreq launches", &launches);
        self.answer("launches", "guestreq launches --all -o json", answers.launches, &[launches])?;
        self.policy("guestreq policy show -o json", answers.policy)?;
        self.explained(answers.explained, explained)?;
        match answers.events {
            Ok(all) => self.events(all, events)?,
            Err(why) => self.contents.miss("events", format!("{why:#}")),
        }
        match answers.metrics {
            Ok(Bounded { text, is_cut }) => {
                if is_cut {
                    self.contents.cut("metrics.txt", "the first ones".to_owned());
                }
                let text = self.names.metrics(&text);
                self.contents.add("metrics.txt", "as Prometheus reads them", text.into());
            }
            Err(why) => self.contents.miss("metrics.txt", format!("{why:#}")),
        }
        Ok(())
    }

    /// The agent's, or what is configured.
    pub fn policy(&mut self, about: &str, answer: Result<Value>) -> Result<()> {
        let Tables { policy, limits, .. } = *self.tables;
        let tables: [Table<'_, Policies>; 2] = [
            ("policy.txt", "guestreq policy show", &policy),
            ("limits.txt", "guestreq limit show", &limits),
        ];
        self.answer("policy", about, answer, &tables)
    }

    fn answer<T: DeserializeOwned>(
        &mut self,
        name: &str,
        about: &str,
        answer: Result<Value>,
        tables: &[Table<'_, T>],
    ) -> Result<()> {
        if let Some(answer) = self.json(name, about, answer)? {
            let answer = json::from_value::<T>(&answer).with_context(|| name.to_owned())?;
            for (file, about, table) in tables {
                self.contents.add(file, about, table(&answer).into());
            }
        }
        Ok(())
    }

    /// Without names, if there is one.
    fn json(&mut self, name: &str, about: &str, answer: Result<Value>) -> Result<Option<Value>> {
        match answer {
            Ok(mut answer) => {
                self.names.json(&mut answer);
                self.contents.add_json(&format!("{name}.json"), about, &answer)?;
                Ok(Some(answer))
            }
            Err(why) => {
                self.contents.miss(name, format!("{why:#}"));
                Ok(None)
            }
        }
    }

    fn explained(&mut self, all: Vec<Result<Value>>, table: fn(Explained) -> String) -> Result<()> {
        if all.len() >= MOST_EXPLAINED {
            self.contents.cut("explained", format!("the first {MOST_EXPLAINED} VMs"));
        }
        let (mut shown, mut text) = (Vec::new(), String::new());
        let mut missing = BTreeMap::<String, usize>::new();
        for answer in all {
            let explained = answer.and_then(|mut answer| {
                self.names.json(&mut answer);
                let explained = json::from_value::<Explained>(&answer)?;
                Ok((answer, explained))
            });
            match explained {
                Ok((answer, explained)) => {
                    text.push_str(&(table(explained) + "\n"));
                    shown.push(answer);
                }
                // Such as a VM that has exited meanwhile.
                Err(why) => *missing.entry(format!("{why:#}")).or_default() += 1,
            }
        }
        for (why, vms) in missing {
            let of = if vms == 1 { "1 VM".to_owned() } else { format!("{vms} VMs") };
            self.contents.miss(format!("explained of {of}"), why);
        }
        if !shown.is_empty() {
            const ABOUT: &str = "guestreq policy explain, for each VM";
            self.contents.add_json("explained.json", ABOUT, &Value::Array(shown))?;
            self.contents.add("explained.txt", ABOUT, text.into());
        }
        Ok(())
    }

    fn events(&mut self, events: Events, table: fn(&[Event]) -> String) -> Result<()> {
        let Events { all, is_cut, unknown } = events;
        if is_cut {
            self.contents.cut("events", format!("the latest {MOST_EVENTS}"));
        }
        if unknown > 0 {
            self.contents.miss("events", format!("{unknown} of another version"));
        }
        let (mut events, mut lines) = (Vec::new(), String::new());
        for mut event in all {
            self.names.json(&mut event);
            lines.push_str(&(json::line(&event)? + "\n"));
            events.push(json::from_value::<Event>(&event).context("an event")?);
        }
        self.contents.add("events.jsonl", "guestreq events -o json", lines.into());
        self.contents.add("events.txt", "guestreq events", table(&events).into());
        Ok(())
    }
}
