//! # Groups of scenarios, and on which kernels they run

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::test::Args;

/// Scenarios that share a boot.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub names: Vec<String>,
    /// How many of them are for every kernel.
    pub every: usize,
    /// Whether it is what a PREEMPT_RT kernel has to pass at every change.
    realtime: bool,
    pub cmdline: String,
    pub memory_mib: u32,
}

/// Lines `group<TAB>name<TAB>kernel command line or -<TAB>memory in MiB<TAB>every, one or
/// realtime`.
pub fn parse(list: &str) -> Result<BTreeMap<String, Group>> {
    let mut groups = BTreeMap::<String, Group>::new();
    for line in list.lines() {
        let &[group, name, cmdline, memory, kernels] =
            line.split('\t').collect::<Vec<_>>().as_slice()
        else {
            bail!("scenarios --list: not five fields: {line:?}");
        };
        let entry = groups.entry(group.into()).or_default();
        entry.names.push(name.into());
        entry.every += usize::from(kernels != "one");
        entry.realtime |= kernels == "realtime";
        let memory = memory.parse().with_context(|| format!("scenarios --list: {line:?}"))?;
        entry.memory_mib = entry.memory_mib.max(memory);
        if cmdline != "-" {
            entry.cmdline = cmdline.into();
        }
    }
    Ok(groups)
}

/// Whether a group runs on a kernel. A PREEMPT_RT kernel passes its own selection, unless more is
/// asked for: then it passes all that the selection is taken from.
pub fn is_due(args: &Args, realtime_kernel: bool, name: &str, group: &Group) -> bool {
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
            parse("core\tcounts\t-\t1024\tevery\ncore\tlatency\tlsm=yama\t2048\tone\n").unwrap();
        let core = &groups["core"];
        assert_eq!(core.names, ["counts", "latency"]);
        assert_eq!(core.every, 1);
        assert_eq!((core.cmdline.as_str(), core.memory_mib), ("lsm=yama", 2048));
        assert!(parse("core counts\n").is_err());
    }

    fn due(args: &Args, realtime_kernel: bool) -> Vec<String> {
        let list = "core\tcounts\t-\t1\tevery\nselection\tcounts\t-\t1\trealtime\n";
        let mut groups = parse(list).unwrap();
        groups.retain(|name, group| is_due(args, realtime_kernel, name, group));
        groups.into_keys().collect()
    }

    #[test]
    fn a_realtime_kernel_passes_a_selection_unless_more_is_asked_for() {
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
