//! # docs/doctor.md, from the checks

use std::fmt::Write as _;

use super::{CHECKS, Check};
use crate::docs;

fn reference() -> String {
    let mut text = String::from(
        "# Doctor\n\nGenerated from guestreq-user/src/doctor by its tests (`UPDATE_DOCS=1 cargo \
         test -p guestreq`): edit there.\n\n\
         `guestreq doctor` looks at everything that this host needs. It changes nothing, and needs \
         neither an agent nor root; what only root can see is skipped. Exit status 0: nothing \
         fails; 1: something does; 2: usage.\n\n\
         | state | means |\n|---|---|\n\
         | pass | as it should be |\n\
         | warn | something is lost, or may not be meant; enforcing might not work, and nothing is \
         to be enforced |\n\
         | fail | what was asked for does not work |\n\
         | skip | not looked at: root is needed (`sudo guestreq doctor`), or another check comes \
         first |\n\n\
         The agent refuses to start by the same code. What it runs with (`backend`, `mode`) is \
         asked of it; without an agent the configuration and what the command line has set tell. \
         With backend `vcpu` or `none` the gate's checks are skipped, but for a gate that is \
         closed: it denies every request.\n\n\
         The PSP is asked for its status once, if KVM uses it: one command, `snp_platform_status`, \
         which waits its turn.\n\n\
         ## From copied files\n\n\
         `guestreq doctor --procfs DIR --sysfs DIR` (or HOST_PROC and HOST_SYS) looks at copies of \
         a host's /proc and /sys that somebody has sent. What has to be asked, of the kernel, the \
         PSP or an agent, is skipped (`not this host`), as is what was not collected; nothing of \
         the machine that it runs on takes its place. Where the two were not collected of one \
         running kernel it says so, and leaves /sys out. Collected as root, this is enough:\n\n\
         ```sh\nmkdir -p host/proc host/sys\n\
         (cd /proc; cp --parents cmdline cpuinfo kallsyms meminfo modules sys/kernel/osrelease \\\n  \
         sys/kernel/{kptr_restrict,perf_event_paranoid,bpf_stats_enabled,ftrace_enabled} \
         $OLDPWD/host/proc)\n\
         (cd /sys; cp -r --parents module/*/{coresize,parameters} class/misc/*/dev \\\n  \
         kernel/iommu_groups class/iommu/*/amd-iommu kernel/security/{lsm,lockdown} \\\n  \
         kernel/btf/vmlinux kernel/debug/kprobes/enabled kernel/livepatch firmware/sev \\\n  \
         fs/cgroup/misc.capacity $OLDPWD/host/sys) 2>/dev/null\n```\n\n\
         ## In JSON\n\n`-o json` prints the same, its fields are in [cli.md](cli.md#json). Checks are known by \
         their `id`, which stays.\n",
    );
    for (group, checks) in CHECKS {
        write!(text, "\n## {}\n\n", group.title()).unwrap();
        text.push_str("| check | `id` | what for, and what to do | more |\n|---|---|---|---|\n");
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
fn every_check_leads_to_a_heading_that_there_is() {
    for (_, checks) in CHECKS {
        checks.iter().for_each(|check| docs::assert_leads_somewhere(check.docs));
    }
}
