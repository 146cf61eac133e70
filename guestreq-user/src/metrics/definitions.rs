//! # What is exported
//!
//! One definition per metric: the code uses it, docs/metrics.md is made of it.

/// A metric's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Counter,
    Gauge,
    Histogram,
}

/// A metric: its name without prefix, its type, its labels and what it means.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Type,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub const $constant: Metric = Metric {
            name: concat!("guestreq_", $name),
            kind: Type::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*
        /// All of them, in the order of the reference.
        #[cfg(test)]
        const ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    REQUESTS Counter "requests_total" ["vm", "message", "result"]
        "Guest requests by VM, message type and result: ok, denied, busy, host_error (the host failed without the firmware's answer), or the name of the firmware's status.";
    REQUEST_DURATION Histogram "request_duration_seconds" ["vm"]
        "Time from when KVM wanted the VM's lock until the PSP had answered, of requests that it answered.";
    MESSAGES Counter "messages_total" ["message", "result"]
        "Guest requests of all VMs, those that have gone included, by message type and result.";
    STAGE_DURATION Histogram "stage_duration_seconds" ["stage", "message"]
        "Time that guest requests spent in each stage: vm_lock (waiting for the VM's own lock), psp_queue (waiting for the PSP), psp_service (the PSP at work).";
    VM_STAGE Counter "vm_stage_seconds_total" ["vm", "stage"]
        "Time that a VM's guest requests spent in each stage.";
    VM_PSP Counter "vm_psp_seconds_total" ["vm", "class"]
        "The PSP's time spent on a VM: on its guest requests, its launch, or other commands.";
    VM_TIO Counter "vm_tio_requests_total" ["vm"]
        "SEV-TIO guest requests (command tio_guest_request) that a VM's process has had made: they are no guest requests of the other metrics, and no policy decides them; absent while there are none.";
    ANOMALIES Counter "sequence_anomalies_total" ["vm", "kind"]
        "Guest requests whose sequence number was used before (replay) or left numbers out (gap), per guest context and VMPCK.";
    DECISIONS Counter "decisions_total" ["vm", "message", "decision", "mode"]
        "Guest requests by what was decided: admit, deny (the type is not allowed) or busy (over the limit); in audit every request passes.";
    LIMIT_RATE Gauge "limit_requests_per_second" ["vm"]
        "How often a VM may ask; absent without a limit.";
    LIMIT_BURST Gauge "limit_burst_requests" ["vm"]
        "How many of a VM's requests may come at once; absent without a limit.";
    VCPU_HELD Counter "vcpu_held_total" ["vm"]
        "How often a vCPU was held out of its guest, as it was over the limit (backend vcpu).";
    VCPU_STOPPED Counter "vcpu_stopped_total" ["vm"]
        "How often a vCPU was stopped, as it had sent what it may not (backend vcpu).";
    RUNS_REFUSED Counter "vcpu_runs_refused_total" ["vm"]
        "KVM_RUNs that were refused to vCPUs that were held or stopped (backend vcpu): what its VMM spins on.";
    ENFORCEMENT_INFO Gauge "enforcement_info" ["backend", "mode", "verified"]
        "What carries decisions out, the strictest mode that is asked for, and whether trying it showed that it works; always 1.";
    BYPASSED Counter "enforcement_bypassed_total" []
        "Guest requests that passed though they should have been decided or stopped.";
    PSP_COMMANDS Counter "psp_commands_total" ["command"]
        "SEV and SNP commands that the PSP was given.";
    PSP_BUSY Counter "psp_busy_seconds_total" ["command"]
        "Time for which SEV and SNP commands held the PSP.";
    PSP_QUEUE Gauge "psp_queue_length" []
        "Guest requests that wait for the PSP now.";
    VM_FIRST_SEEN Gauge "vm_first_seen_timestamp_seconds" ["vm"]
        "When a VM's record began: its counters were 0 then, whatever another VM of that name had.";
    VM_INFO Gauge "vm_info" ["vm", "name", "uuid", "vmm", "namespace", "pod_uid"]
        "A VM that has made requests or was launched, with what is known of it; always 1.";
    VMS_UNREAD Gauge "vms_unread" []
        "VMs without a name, as their processes (/proc/PID) do not answer: no rule that names them holds for them.";
    PROBE_ATTACHED Gauge "probe_attached" ["probe"]
        "Whether a probe is attached (1) or not (0).";
    EVENTS_LOST Counter "events_lost_total" ["reason"]
        "What could not be counted, attributed or told, by the reason.";
    LOG_DROPPED Counter "log_lines_dropped_total" []
        "Lines of the agent's log that were dropped, as nobody took them: a journald that is stuck, a pipe that is full.";
    MAP_ENTRIES Gauge "map_entries" ["map"]
        "Entries in use in a BPF map.";
    MAP_CAPACITY Gauge "map_capacity" ["map"]
        "Entries that a BPF map has room for.";
    PROGRAM_RUNS Counter "program_runs_total" ["program"]
        "Runs of a BPF program; only while the kernel's BPF statistics are on.";
    PROGRAM_RUN_SECONDS Counter "program_run_seconds_total" ["program"]
        "Time spent in a BPF program; only while the kernel's BPF statistics are on.";
    CONFIG_SUCCESSFUL Gauge "config_last_reload_successful" []
        "Whether the configuration's files could be read and taken over when they were last looked at (1) or not (0): then what was read before holds.";
    CONFIG_READ_AT Gauge "config_last_reload_success_timestamp_seconds" []
        "When the configuration that holds was read.";
    BUILD_INFO Gauge "build_info" ["version"]
        "This agent; always 1.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fmt::Write as _, fs};

    /// docs/metrics.md, from the definitions.
    fn reference() -> String {
        let mut text = String::from(
            "# Metrics\n\nGenerated from guestreq-user/src/metrics/definitions.rs by its tests \
             (`UPDATE_DOCS=1 cargo test -p guestreq`): edit there.\n\n\
             Values of `message` are the request types of the SEV-SNP firmware ABI in lower case; \
             responses' and unlisted numbers are `unknown`. SEV-TIO's (`tio_…`) are rare, as VMMs \
             have those made by another command, `tio_guest_request`. Values of `command` are the kernel's \
             names without `SEV_CMD_`. What a guest controls never becomes a label's value as it \
             is: a VM has at most 64 pairs of `message` and `result`, whatever comes after them \
             is counted as `unknown`, `unknown_status`; and 48 triples of `message`, `decision` \
             and `mode`, whatever comes after them is counted as `unknown`. In a VM's name control \
             characters, backticks and `$` become `_`, so that no name changes a query that has it. \
             A VM's series end five minutes after the \
             VM (`keep_exited_vms`); series without a `vm` label never fall while the agent \
             runs. What alerts look at is 0 from the start for report, key and tsc_info; an agent \
             that waits (`--stay`) exports no counts, as it knows none.\n\n\
             | metric | type | labels | meaning |\n|---|---|---|---|\n",
        );
        for metric in ALL {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let kind = format!("{:?}", metric.kind).to_lowercase();
            let row = (metric.name, kind, labels.join(", "), metric.help);
            writeln!(text, "| `{}` | {} | {} | {} |", row.0, row.1, row.2, row.3).unwrap();
        }
        text
    }

    #[test]
    fn the_reference_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::write(path, reference()).unwrap();
        }
        let current = fs::read_to_string(path).unwrap_or_default() == reference();
        assert!(current, "docs/metrics.md is not current: UPDATE_DOCS=1 cargo test -p guestreq");
    }

    #[test]
    fn names_follow_prometheus_practice() {
        for metric in ALL {
            let total = metric.name.ends_with("_total");
            assert_eq!(total, metric.kind == Type::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            if metric.kind == Type::Histogram {
                assert!(metric.name.ends_with("_seconds"), "{}", metric.name);
            }
        }
    }
}
