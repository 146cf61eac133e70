//! # Generates docs/doctor.md

use std::fmt::Write as _;

use super::{CHECKS, Check};
use crate::docs;

fn reference() -> String {
    let mut text = String::from(
        "# Doctor\n\nGenerated from guestreq-user/src/doctor by its tests (`UPDATE_DOCS=1 cargo \
         test -p guestreq`): edit there.\n\n\
         `guestreq doctor` checks everything that this host needs. It changes nothing and needs no \
         agent; without root some checks are skipped. Exit status: 0 if no check fails, 1 if one \
         does, 2 on a usage error.\n\n\
         | state | meaning |\n|---|---|\n\
         | pass | as required |\n\
         | warn | something is lost or may be unintended; enforcement might not work but is not \
         configured |\n\
         | fail | something that is configured does not work |\n\
         | skip | not checked: it needs root (`sudo guestreq doctor`), or an earlier check failed |\n\n\
         At its start the agent checks its prerequisites with the same code. `backend` and `mode` come from the running \
         agent, otherwise from configuration and overrides. With backend `vcpu` or `none` the \
         gate's checks are skipped, except those of what it does with every backend: deny every request \
         while it is closed, and put requests in order. A weight then has no effect, which is a warning.\n\n\
         If KVM uses the PSP, doctor sends it one command, `snp_platform_status`, which queues like \
         any other.\n\n\
         ## From copied files\n\n\
         `guestreq doctor --procfs DIR --sysfs DIR` (or HOST_PROC and HOST_SYS) checks copies of \
         another host's /proc and /sys. Checks that query the kernel, the PSP or an agent are skipped \
         (`not this host`), as are files that were not collected; the local machine is never used \
         instead. If the copies are from different kernels, doctor says so and ignores /sys. \
         `--config` and `--socket`, which are of the local machine, are refused beside them. The \
         copies in a [report](report.md) of `guestreq report` are enough; without guestreq on that host, \
         so is this, as root:\n\n\
         ```sh\nmkdir -p host/proc host/sys\n\
         (cd /proc; cp --parents cmdline cpuinfo kallsyms meminfo modules sys/kernel/osrelease \\\n  \
         sys/kernel/{kptr_restrict,perf_event_paranoid,bpf_stats_enabled,ftrace_enabled} \
         $OLDPWD/host/proc)\n\
         (cd /sys; cp -r --parents module/*/{coresize,parameters} class/misc/*/dev \\\n  \
         kernel/iommu_groups class/iommu/*/amd-iommu kernel/security/{lsm,lockdown} \\\n  \
         kernel/btf/vmlinux kernel/debug/kprobes/enabled kernel/livepatch firmware/sev \\\n  \
         fs/cgroup/misc.{capacity,current} fs/cgroup/*/misc.current $OLDPWD/host/sys) 2>/dev/null\n```\n\n\
         ## In JSON\n\n`-o json` prints the same; [cli.md](cli.md#json) lists the fields. A check's `id` is \
         stable.\n",
    );
    for (group, checks) in CHECKS {
        write!(text, "\n## {}\n\n", group.title()).unwrap();
        text.push_str("| check | `id` | purpose and fix | more |\n|---|---|---|---|\n");
        for Check { id, title, needed, docs, .. } in checks {
            let (page, _) = docs.split_once('#').unwrap();
            let name = page.trim_start_matches("docs/");
            let link = docs::from_docs(docs);
            let title =
                if title.contains('_') { format!("`{title}`") } else { (*title).to_owned() };
            writeln!(text, "| {title} | `{id}` | {needed} | [{name}]({link}) |").unwrap();
        }
    }
    text
}

#[test]
fn the_reference_of_checks_is_current() {
    docs::assert_current("docs/doctor.md", &reference());
}

#[test]
fn every_check_links_to_an_existing_heading() {
    for (_, checks) in CHECKS {
        checks.iter().for_each(|check| docs::assert_leads_somewhere(check.docs));
    }
}
