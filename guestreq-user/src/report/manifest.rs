//! # MANIFEST
//!
//! What a report contains, what it lacks and why.

use serde::Serialize;

use super::{Contents, Missing};
use crate::json;

#[derive(Debug, Serialize)]
pub struct Manifest<'a> {
    /// Of the guestreq that made it.
    guestreq: &'static str,
    created: String,
    /// `pseudonyms` or `real`.
    names: &'static str,
    /// Whether it was made by root, or with the same capabilities, which sees everything.
    root: bool,
    files: Vec<Entry<'a>>,
    missing: &'a [Missing],
    /// What of which only a part is here.
    cut: &'a [Missing],
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    path: &'a str,
    bytes: usize,
    about: &'a str,
}

/// Of the copies, which are many.
const HOST: &str = "host/";

/// For those who read it before they send it.
const STAYS: &str = "\
These stay as they are: paths, of files of the configuration, programs, sockets and disks; names of programs \
and processes; pids, uids and ids of containers; the address that the agent listens on; names of VMs \
in free text that have fewer than three characters, or are words of guestreq's.\n\n";

impl Manifest<'_> {
    pub fn of(contents: &Contents, created: String, pseudonyms: bool, root: bool) -> Manifest<'_> {
        let files = contents.files.iter().filter_map(|(path, bytes)| {
            let about = contents.about.get(path).map_or("a copy", |about| about);
            Some(Entry { path, bytes: bytes.as_ref()?.len(), about })
        });
        Manifest {
            guestreq: env!("CARGO_PKG_VERSION"),
            created,
            names: if pseudonyms { "pseudonyms" } else { "real" },
            root,
            files: files.collect(),
            missing: &contents.missing,
            cut: &contents.cut,
        }
    }

    pub fn json(&self) -> serde_json::Result<String> {
        json::pretty(&json::to_value(self)?).map(|json| json + "\n")
    }

    pub fn text(&self) -> String {
        let Manifest { guestreq, created, names, root, files, missing, cut } = self;
        let names = match *names {
            "real" => "real, as --names was given",
            _ => "pseudonyms: vm1, ns1, part1 of a pattern, host, 00000000-…; ? was not known",
        };
        let by = if *root { "root" } else { "a user who is not root, and sees less" };
        let mut text = format!(
            "# Report of guestreq {guestreq}\n\nMade at {created} by {by}.\nNames of VMs: {names}.\n\n\
             {STAYS}\
             Guests' messages are never in it: guestreq does not read them.\n\n\
             What doctor says of this host is in doctor.txt. To let another version assess it:\n\n    \
             guestreq doctor --procfs host/proc --sysfs host/sys\n\n## Contents\n\n\
             | file | bytes | what |\n|---|---|---|\n"
        );
        for Entry { path, bytes, about } in files.iter().filter(|it| !it.path.starts_with(HOST)) {
            text.push_str(&format!("| {path} | {bytes} | {about} |\n"));
        }
        let copies: Vec<_> = files.iter().filter(|it| it.path.starts_with(HOST)).collect();
        let bytes: usize = copies.iter().map(|it| it.bytes).sum();
        text.push_str(&format!(
            "| host/proc, host/sys | {bytes} | {} copies of what doctor reads of /proc and /sys |\n",
            copies.len()
        ));
        for (title, list) in [("Missing", missing), ("Cut", cut)] {
            text.push_str(&format!("\n## {title}\n\n"));
            for Missing { what, why } in *list {
                text.push_str(&format!("- {what}: {why}\n"));
            }
            if list.is_empty() {
                text.push_str("Nothing.\n");
            }
        }
        text
    }
}
