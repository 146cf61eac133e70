//! # Groups of scenarios and their kernels

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use crate::test::Args;

/// Scenarios that share a boot.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub ids: Vec<String>,
    /// Those that compare times.
    pub timed: BTreeSet<String>,
    /// Whether these are only some of the group's scenarios.
    pub is_partial: bool,
    /// How many of them each change runs on every kernel.
    pub every: usize,
    /// How many of them each change runs on the newest.
    pub newest: usize,
    /// Whether it is the selection for PREEMPT_RT kernels.
    realtime: bool,
    /// Whether it takes so long that it only runs when asked for.
    pub long: bool,
    pub needs: Needs,
    pub cmdline: String,
    pub memory_mib: u32,
}

pub type Groups = BTreeMap<String, Group>;

/// What the host must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Needs {
    #[default]
    Rig,
    Vmm,
    Nodes,
    Debian,
}

impl Needs {
    fn parse(word: &str) -> Option<Needs> {
        match word {
            "rig" => Some(Needs::Rig),
            "vmm" => Some(Needs::Vmm),
            "nodes" => Some(Needs::Nodes),
            "debian" => Some(Needs::Debian),
            _ => None,
        }
    }
}

/// Lines `id<TAB>description<TAB>group<TAB>every, one, realtime or long<TAB>timed or
/// -<TAB>change or night<TAB>memory in MiB<TAB>rig, vmm, nodes or debian<TAB>kernel command line or
/// -`.
pub fn parse(list: &str) -> Result<Groups> {
    let mut groups = BTreeMap::<String, Group>::new();
    for line in list.lines() {
        let &[id, _, group, kernels, timed, when, memory, needs, cmdline] =
            line.split('\t').collect::<Vec<_>>().as_slice()
        else {
            bail!("scenarios --list: not nine fields: {line:?}");
        };
        let entry = groups.entry(group.into()).or_default();
        entry.ids.push(id.into());
        if timed == "timed" {
            entry.timed.insert(id.into());
        }
        entry.every += usize::from(kernels != "one" && when == "change");
        entry.newest += usize::from(when == "change");
        entry.realtime |= kernels == "realtime";
        entry.long |= kernels == "long";
        entry.needs = Needs::parse(needs).with_context(|| format!("scenarios --list: {line:?}"))?;
        let memory = memory.parse().with_context(|| format!("scenarios --list: {line:?}"))?;
        entry.memory_mib = entry.memory_mib.max(memory);
        if cmdline != "-" {
            entry.cmdline = cmdline.into();
        }
    }
    Ok(groups)
}

/// Keeps what `--only` selects: a group, a scenario, a subject's scenarios, or the only scenario
/// whose id has this prefix.
pub fn select(groups: &mut BTreeMap<String, Group>, only: &str) -> Result<()> {
    if groups.contains_key(only) {
        groups.retain(|name, _| name == only);
        return Ok(());
    }
    let ids: BTreeSet<_> = groups.values().flat_map(|group| group.ids.clone()).collect();
    let is_of_subject = |id: &str| id.split_once('/').is_some_and(|(subject, _)| subject == only);
    let mut selected: Vec<_> =
        ids.iter().filter(|id| *id == only || is_of_subject(id)).cloned().collect();
    if selected.is_empty() {
        selected = ids.iter().filter(|id| id.starts_with(only)).cloned().collect();
        match selected.len() {
            0 => {
                let names: Vec<_> = groups.keys().map(String::as_str).collect();
                bail!("no scenario begins with {only}; the groups are {}", names.join(", "));
            }
            1 => {}
            _ => bail!("{only} is ambiguous: {}", selected.join(", ")),
        }
    }
    groups.retain(|_, group| {
        group.is_partial = true;
        group.ids.retain(|id| selected.contains(id));
        !group.ids.is_empty()
    });
    Ok(())
}

/// Whether a group runs on a kernel. A PREEMPT_RT kernel runs its selection, or, if more is
/// requested, all other groups.
pub fn is_due(args: &Args, realtime_kernel: bool, name: &str, group: &Group) -> bool {
    if group.long && !args.long && args.only.is_none() {
        return false;
    }
    let more = args.long || args.kernel.is_some() || args.only.is_some();
    match (group.realtime, realtime_kernel) {
        (true, true) => !more || args.only.as_deref() == Some(name),
        (true, false) => false,
        (false, true) => more,
        (false, false) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_one_boot() {
        let groups =
            parse("a/counts\tIt counts\tcore\tevery\t-\tchange\t1024\trig\t-\na/latency\tIt is quick\tcore\tone\ttimed\tnight\t2048\trig\tlsm=yama\n").unwrap();
        let core = &groups["core"];
        assert_eq!(core.ids, ["a/counts", "a/latency"]);
        assert_eq!(core.timed.iter().collect::<Vec<_>>(), ["a/latency"]);
        assert_eq!((core.every, core.newest), (1, 1));
        assert_eq!((core.cmdline.as_str(), core.memory_mib), ("lsm=yama", 2048));
        assert!(parse("a/counts core\n").is_err());
    }

    #[test]
    fn only_selects_a_group_a_scenario_a_subject_or_an_unambiguous_prefix() {
        let list = "limits/rate\t.\tenforce\tevery\t-\tchange\t1\trig\t-\nlimits/fairness\t.\tenforce\tone\t-\tchange\t1\trig\t-\n\
                    gate/ftrace\t.\tenforce\tone\t-\tchange\t1\trig\t-\ngate/ftrace\t.\trt\trealtime\t-\tchange\t1\trig\t-\n";
        let select = |only: &str| {
            let mut groups = parse(list).unwrap();
            select(&mut groups, only)?;
            let of_group = |(name, group): (String, Group)| (name, group.ids.join(","));
            Ok::<Vec<_>, anyhow::Error>(groups.into_iter().map(of_group).collect())
        };
        let enforce = |ids: &str| ("enforce".to_owned(), ids.to_owned());
        let rt = ("rt".to_owned(), "gate/ftrace".to_owned());
        let all = enforce("limits/rate,limits/fairness,gate/ftrace");
        assert_eq!(select("enforce").unwrap(), [all]);
        assert_eq!(select("limits/rate").unwrap(), [enforce("limits/rate")]);
        assert_eq!(select("limits").unwrap(), [enforce("limits/rate,limits/fairness")]);
        assert_eq!(select("limits/f").unwrap(), [enforce("limits/fairness")]);
        assert_eq!(select("gate/f").unwrap(), [enforce("gate/ftrace"), rt]);
        let ambiguous = select("lim").unwrap_err().to_string();
        assert_eq!(ambiguous, "lim is ambiguous: limits/fairness, limits/rate");
        let unknown = select("fairness").unwrap_err().to_string();
        assert!(unknown.ends_with("the groups are enforce, rt"), "{unknown}");
    }

    fn due(args: &Args, realtime_kernel: bool) -> Vec<String> {
        let list = "a/counts\t.\tcore\tevery\t-\tchange\t1\trig\t-\na/counts\t.\tselection\trealtime\t-\tchange\t1\trig\t-\n";
        let mut groups = parse(list).unwrap();
        groups.retain(|name, group| is_due(args, realtime_kernel, name, group));
        groups.into_keys().collect()
    }

    #[test]
    fn a_long_group_runs_only_when_asked_for() {
        let groups = parse("a/b\t.\thost\tlong\t-\tchange\t1\tdebian\t-\n").unwrap();
        let group = &groups["host"];
        assert_eq!(group.needs, Needs::Debian);
        assert!(!is_due(&Args::default(), false, "host", group));
        assert!(is_due(&Args { long: true, ..Args::default() }, false, "host", group));
        assert!(is_due(
            &Args { only: Some("host".into()), ..Args::default() },
            false,
            "host",
            group
        ));
    }

    #[test]
    fn a_realtime_kernel_runs_a_selection_unless_more_is_requested() {
        let every_change = Args::default();
        assert_eq!(due(&every_change, false), ["core"]);
        assert_eq!(due(&every_change, true), ["selection"]);
        for more in [
            Args { long: true, ..Args::default() },
            Args { kernel: Some("rt".into()), ..Args::default() },
            Args { only: Some("counts".into()), ..Args::default() },
        ] {
            assert_eq!(due(&more, false), ["core"]);
            assert_eq!(due(&more, true), ["core"], "the selection would be run twice");
        }
        let named = Args { only: Some("selection".into()), ..Args::default() };
        assert_eq!(due(&named, false), ["core"; 1]);
        assert!(due(&named, true).contains(&"selection".into()));
    }
}
