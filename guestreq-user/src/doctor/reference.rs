//! # Generates docs/doctor.md

use std::fmt::Write as _;

use super::{CHECKS, Check};
use crate::docs;

fn reference() -> String {
    let mut text = String::from(
        "# Doctor\n\nGenerated from guestreq-user/src/doctor by its tests (`UPDATE_DOCS=1 cargo \
         test -p guestreq`): edit there.\n\n\
         `guestreq doctor` checks this host's prerequisites. It changes nothing and needs no agent; \
         without root, checks that need it are skipped. Exit status 0: no check failed; 1: a check \
         failed; 2: usage error.\n\n\
         | state | means |\n|---|---|\n\
         | pass | as it should be |\n\
         | warn | something is lost or may not be intended, or only enforcement would need it and \
         nothing is enforced |\n\
         | fail | a configured function does not work |\n\
         | skip | not checked: needs root (`sudo guestreq doctor`), or depends on another check |\n\n\
         The agent refuses to start by the same code. Doctor takes `backend` and `mode` from the \
         agent, without one from the configuration and overrides. With backend `vcpu` or `none` \
         the gate's checks are skipped, except for a closed gate: it denies every request.\n\n\
         If KVM uses the PSP, one `snp_platform_status` command is sent to it; it waits in the \
         queue like any other.\n\n\
         ## From copied files\n\n\
         `guestreq doctor --procfs DIR --sysfs DIR` (or HOST_PROC and HOST_SYS) checks copies of \
         another host's /proc and /sys. Checks that query the kernel, the PSP or an agent are \
         skipped (`not this host`), as is what was not collected. If the two are not from the \
         same running kernel, doctor reports that and ignores /sys. This is enough, collected as \
         root:\n\n\
         ```sh\nmkdir -p host/proc host/sys\n\
         (cd /proc; cp --parents cmdline cpuinfo kallsyms meminfo modules sys/kernel/osrelease \\\n  \
         sys/kernel/{kptr_restrict,perf_event_paranoid,bpf_stats_enabled,ftrace_enabled} \
         $OLDPWD/host/proc)\n\
         (cd /sys; cp -r --parents module/*/{coresize,parameters} class/misc/*/dev \\\n  \
         kernel/iommu_groups class/iommu/*/amd-iommu kernel/security/{lsm,lockdown} \\\n  \
         kernel/btf/vmlinux kernel/debug/kprobes/enabled kernel/livepatch firmware/sev \\\n  \
         fs/cgroup/misc.capacity $OLDPWD/host/sys) 2>/dev/null\n```\n\n\
         ## In JSON\n\n`-o json` prints the fields in [cli.md](cli.md#json). A check's `id` is stable.\n",
    );
    for (group, checks) in CHECKS {
        write!(text, "\n## {}\n\n", group.title()).unwrap();
        text.push_str("| check | `id` | what is needed, and why | more |\n|---|---|---|---|\n");
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
