//! # Exported metrics
//!
//! One definition per metric, for the code and for docs/metrics.md.

/// A metric's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Counter,
    Gauge,
    Histogram,
}

/// A metric's name, type, labels and help text.
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
        /// All metrics, in the order of the reference.
        #[cfg(test)]
        const ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    REQUESTS Counter "requests_total" ["vm", "message", "result"]
        "Guest requests by VM, message type and result: ok, denied, busy, host_error (the host failed, or the VMM was killed, before the firmware answered), or the firmware's status.";
    REQUEST_DURATION Histogram "request_duration_seconds" ["vm"]
        "Duration of the requests that the PSP answered, from KVM waiting for the VM's lock to the answer.";
    MESSAGES Counter "messages_total" ["message", "result"]
        "Guest requests of all VMs, including exited ones, by message type and result.";
    STAGE_DURATION Histogram "stage_duration_seconds" ["stage", "message"]
        "Duration of each stage of a guest request: vm_lock (waiting for the VM's own lock), psp_queue (waiting for the PSP), psp_service (the PSP executing).";
    VM_STAGE Counter "vm_stage_seconds_total" ["vm", "stage"]
        "Time a VM's guest requests spent in each stage.";
    VM_PSP Counter "vm_psp_seconds_total" ["vm", "class"]
        "PSP time used by a VM: for guest requests, its launch, or other commands.";
    VM_TIO Counter "vm_tio_requests_total" ["vm"]
        "SEV-TIO guest requests (command tio_guest_request) issued by a VM's process. No other metric and no policy covers them; absent until the first.";
    ANOMALIES Counter "sequence_anomalies_total" ["vm", "kind"]
        "Guest requests whose sequence number was reused (replay) or skipped numbers (gap), per guest context and VMPCK.";
    DECISIONS Counter "decisions_total" ["vm", "message", "decision", "mode"]
        "Policy decisions by VM, message type and mode: admit, deny (type not allowed) or busy (over the rate or the share, out of turn, or its VM's policy is not known yet). In audit every request passes.";
    LIMIT_RATE Gauge "limit_requests_per_second" ["vm"]
        "Rate limit of a VM; absent without one, also if it has a share.";
    LIMIT_SHARE Gauge "limit_psp_share" ["vm"]
        "Share of the PSP's time that a VM may use, 0 to 1; absent without such a limit.";
    LIMIT_WEIGHT Gauge "limit_weight" ["vm"]
        "Weight of a VM in the gate's order; absent if it is 1, the default.";
    LIMIT_BURST Gauge "limit_burst_requests" ["vm"]
        "Burst of a VM's rate limit, in requests; absent without one, also if it has a share.";
    RESCUED Counter "rescued_total" ["vm"]
        "Messages over a VM's limit that were admitted because they had waited for 30 s.";
    MESSAGES_RESCUED Counter "messages_rescued_total" []
        "Messages over a limit that were admitted because they had waited for 30 s, of all VMs, including exited ones and those without a record.";
    VMPCKS_LOST Counter "vmpcks_lost_total" ["vm", "cause"]
        "VMPCKs that a VM's guest has probably wiped, inferred from how Linux treats refusals: its message was denied, or was refused with BUSY (busy) and not admitted within 60 s.";
    OLDEST_REFUSED Gauge "oldest_refused_seconds" ["vm"]
        "Time since the first refusal of the VM's oldest message that still waits after BUSY; 0 if none waits. A message whose VMPCK is lost does not count. That it waits is inferred: the guest may have given up.";
    VCPU_HELD Counter "vcpu_held_total" ["vm"]
        "Times a vCPU was held for exceeding the limit (backend vcpu).";
    VCPU_STOPPED Counter "vcpu_stopped_total" ["vm"]
        "Times a vCPU was held or stopped after a disallowed message type (backend vcpu).";
    RUNS_REFUSED Counter "vcpu_runs_refused_total" ["vm"]
        "KVM_RUN calls refused to held or stopped vCPUs (backend vcpu); the VMM retries them in a loop.";
    ENFORCEMENT_INFO Gauge "enforcement_info" ["backend", "mode", "verified"]
        "Enforcement backend, strictest configured mode, and whether the last self-test passed; always 1.";
    BYPASSED Counter "enforcement_bypassed_total" []
        "Guest requests that bypassed enforcement.";
    PSP_COMMANDS Counter "psp_commands_total" ["command"]
        "SEV and SNP commands sent to the PSP.";
    PSP_BUSY Counter "psp_busy_seconds_total" ["command"]
        "Time SEV and SNP commands held the PSP.";
    PSP_QUEUE Gauge "psp_queue_length" []
        "Guest requests waiting for the PSP.";
    ORDER_DEPTH Gauge "order_depth" []
        "How many guest requests the gate's order lets through to the PSP's mutex at a time; 0: the order is off. All series of the order are absent without a gate that has one; its counters begin at 0 when the gate is loaded.";
    ORDER_LAUNCH_SHARE Gauge "order_launch_share" []
        "Share of the PSP's time for which launches may hold requests, 0 to 1.";
    ORDER_WAITING Gauge "order_waiting_requests" []
        "Guest requests that wait in the gate's order. They are part of guestreq_psp_queue_length.";
    ORDER_IN_FLIGHT Gauge "order_in_flight_requests" []
        "Guest requests that the gate's order let through and that are not answered yet; more than its depth while some are overdue, or while requests are owed time beside many launches.";
    ORDER_REQUESTS Counter "order_requests_total" []
        "Guest requests that passed the gate's order: let through at once or after a wait, overdue ones included, or killed while they waited.";
    ORDER_OVERDUE Counter "order_overdue_total" []
        "Guest requests that went to the PSP without a slot, because the gate's order stood still for 10 s: no slot was given or came back, and somebody waited.";
    ORDER_KILLED Counter "order_killed_total" []
        "Guest requests whose task was killed while they waited in the gate's order.";
    ORDER_WAIT Counter "order_wait_seconds_total" []
        "Time that guest requests waited in the gate's order, of waits that have ended. It is part of the stage psp_queue.";
    ORDER_HELD Counter "order_held_seconds_total" []
        "Time for which a slot of the gate's order was free and somebody waited for it, because of a launch.";
    ORDER_PSP Counter "order_psp_seconds_total" ["class"]
        "The PSP's time for launches (launch) and guest requests (request), as the gate's order accounts for it: time in which somebody had a slot and did not use it is included.";
    ASIDS Gauge "asids" ["state"]
        "ASIDs for SNP guests, each of which occupies one: used and available. SEV-ES guests count as used too; with ciphertext hiding they have other ASIDs, so that more may be left than available says. Absent if the host's misc cgroup controller cannot be read.";
    LAUNCHES Gauge "launches" ["state"]
        "Launches of VMs that run: running, or stalled (without a command for 60 s).";
    LAUNCHES_ENDED Counter "launches_total" ["result"]
        "Launches that ended: finished, failed (a command failed), abandoned (the guest context ended first), or process_exited (so did the VMM).";
    LAUNCH_DURATION Histogram "launch_duration_seconds" []
        "Duration of finished launches, from the first command waiting for the PSP to the end of SNP_LAUNCH_FINISH.";
    LAUNCH_STAGE Counter "launch_stage_seconds_total" ["stage"]
        "Time that launches spent in each stage, running ones included: psp_queue (a command waiting for the PSP), psp_service (the PSP executing it), vmm (the VMM preparing the next).";
    VM_FIRST_SEEN Gauge "vm_first_seen_timestamp_seconds" ["vm"]
        "Creation time of a VM's record; its counters started at 0 then, even if an earlier VM had the same name.";
    VM_INFO Gauge "vm_info" ["vm", "name", "uuid", "vmm", "namespace", "pod_uid"]
        "Identity of a VM that was launched or sent a request; always 1.";
    VMS_UNREAD Gauge "vms_unread" []
        "VMs without a name because /proc/PID of their process cannot be read; rules that match by name do not apply to them.";
    PROBE_ATTACHED Gauge "probe_attached" ["probe"]
        "1 if the probe is attached, else 0.";
    EVENTS_LOST Counter "events_lost_total" ["reason"]
        "Lost observations, by reason.";
    LOG_DROPPED Counter "log_lines_dropped_total" []
        "Log lines dropped because the log's reader was stuck (journald, a full pipe).";
    MAP_ENTRIES Gauge "map_entries" ["map"]
        "Entries in a BPF map.";
    MAP_CAPACITY Gauge "map_capacity" ["map"]
        "Capacity of a BPF map, in entries.";
    PROGRAM_RUNS Counter "program_runs_total" ["program"]
        "Runs of a BPF program; only while the kernel's BPF statistics are enabled.";
    PROGRAM_RUN_SECONDS Counter "program_run_seconds_total" ["program"]
        "Run time of a BPF program; only while the kernel's BPF statistics are enabled.";
    CONFIG_SUCCESSFUL Gauge "config_last_reload_successful" []
        "1 if the last configuration reload succeeded, 0 if the previous configuration remains in force.";
    CONFIG_READ_AT Gauge "config_last_reload_success_timestamp_seconds" []
        "Time at which the active configuration was read.";
    BUILD_INFO Gauge "build_info" ["version"]
        "Build information; always 1.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// The content of docs/metrics.md.
    fn reference() -> String {
        let mut text = String::from(
            "# Metrics\n\nGenerated from guestreq-user/src/metrics/definitions.rs by its tests \
             (`UPDATE_DOCS=1 cargo test -p guestreq`): edit there.\n\n\
             `message` is the message type of the SEV-SNP firmware ABI in lower case; responses and \
             unlisted numbers are `unknown`. SEV-TIO types (`tio_…`) are rare: VMMs send these with \
             another command, `tio_guest_request`. `command` is the kernel's name without `SEV_CMD_`.\n\n\
             Guests cannot create arbitrary label values. A VM has at most 64 pairs of `message` and \
             `result`, and 48 triples of `message`, `decision` and `mode`; further ones count as \
             `unknown` (result `unknown_status`). Control characters, backticks and `$` in a VM's name \
             become `_`, so that a name cannot change a query.\n\n\
             A VM's series end five minutes after it exits (`keep_exited_vms`). Series without a `vm` \
             label never decrease while the agent runs, except those of the gate's order when the gate is \
             loaded again. Series that alerts use start at 0 for report, key \
             and tsc_info. An agent still waiting to attach (`--stay`) exports no VM or PSP counters.\n\n\
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
        crate::docs::assert_current("docs/metrics.md", &reference());
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
