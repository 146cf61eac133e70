//! # Each alert's faults, as series of one host

use super::timeline::{Values, Values::*};

/// A fault that an alert reports.
pub struct Row {
    pub alert: &'static str,
    /// Which of the alert's faults; part of the host's name.
    pub fault: &'static str,
    /// Minutes until it fires. None: it never does.
    pub after: Option<u32>,
    /// Minutes after which a single occurrence no longer fires.
    pub over: Option<u32>,
    pub series: &'static [(&'static str, Values)],
}

pub const ROWS: &[Row] = &[
    Row {
        alert: "GuestreqPspDead",
        fault: "hangs",
        after: Some(3),
        over: None,
        series: &[
            ("guestreq_psp_queue_length{}", Level(0, 3)),
            (r#"guestreq_psp_commands_total{command="snp_guest_request"}"#, Rate(10, 0)),
            (r#"guestreq_psp_commands_total{command="snp_launch_start"}"#, Step(3, 0)),
        ],
    },
    Row {
        alert: "GuestreqPspDead",
        fault: "given up",
        after: Some(6),
        over: None,
        series: &[
            ("guestreq_psp_queue_length{}", Level(0, 0)),
            (r#"guestreq_psp_commands_total{command="snp_guest_request"}"#, Rate(10, 10)),
            (r#"guestreq_messages_total{message="report", result="ok"}"#, Rate(10, 0)),
            (r#"guestreq_messages_total{message="report", result="host_error"}"#, Step(0, 0)),
            (r#"guestreq_messages_total{message="export", result="host_error"}"#, NewRate(10)),
        ],
    },
    // Some fail and none is ok, but the PSP answers, with a status it never returned before.
    Row {
        alert: "GuestreqPspDead",
        fault: "answered with a status",
        after: None,
        over: None,
        series: &[
            (r#"guestreq_psp_commands_total{command="snp_guest_request"}"#, Rate(10, 10)),
            (r#"guestreq_messages_total{message="report", result="ok"}"#, Step(5, 0)),
            (r#"guestreq_messages_total{message="report", result="host_error"}"#, Step(0, 3)),
            (r#"guestreq_messages_total{message="report", result="aead_oflow"}"#, NewRate(10)),
        ],
    },
    Row {
        alert: "GuestreqPspSaturated",
        fault: "busy",
        after: Some(17),
        over: None,
        series: &[
            (r#"guestreq_psp_busy_seconds_total{command="snp_guest_request"}"#, Rate(6, 50)),
            (r#"guestreq_psp_busy_seconds_total{command="snp_launch_update"}"#, Rate(0, 7)),
        ],
    },
    Row {
        alert: "GuestreqOrderOverdue",
        fault: "out of order",
        after: Some(2),
        over: Some(15),
        series: &[("guestreq_order_overdue_total{}", Step(3, 3))],
    },
    Row {
        alert: "GuestreqLaunchesWaitForPsp",
        fault: "waiting",
        after: Some(12),
        over: None,
        series: &[
            (r#"guestreq_launch_stage_seconds_total{stage="psp_queue"}"#, Rate(2, 60)),
            (r#"guestreq_launch_stage_seconds_total{stage="psp_service"}"#, Rate(10, 10)),
            (r#"guestreq_launch_stage_seconds_total{stage="vmm"}"#, Rate(1, 1)),
        ],
    },
    Row {
        alert: "GuestreqLaunchFailed",
        fault: "refused",
        after: Some(2),
        over: Some(20),
        series: &[(r#"guestreq_launches_total{result="failed"}"#, Step(3, 2))],
    },
    Row {
        alert: "GuestreqLaunchStalled",
        fault: "no command",
        after: Some(7),
        over: None,
        series: &[(r#"guestreq_launches{state="stalled"}"#, Level(0, 1))],
    },
    Row {
        alert: "GuestreqVmHogsPsp",
        fault: "greedy",
        after: Some(17),
        over: None,
        series: &[
            (r#"guestreq_psp_busy_seconds_total{command="snp_guest_request"}"#, Rate(6, 52)),
            (r#"guestreq_vm_psp_seconds_total{vm="greedy", class="request"}"#, Rate(2, 45)),
            (r#"guestreq_vm_psp_seconds_total{vm="web", class="request"}"#, Rate(4, 10)),
            (r#"guestreq_vm_info{vm="greedy"}"#, Level(1, 1)),
            (r#"guestreq_vm_info{vm="web"}"#, Level(1, 1)),
        ],
    },
    Row {
        alert: "GuestreqAsidsNearlyExhausted",
        fault: "many VMs",
        after: Some(12),
        over: None,
        series: &[
            (r#"guestreq_asids{state="used"}"#, Level(80, 90)),
            (r#"guestreq_asids{state="available"}"#, Level(19, 9)),
        ],
    },
    Row {
        alert: "GuestreqAttestationSlow",
        fault: "queue",
        after: Some(17),
        over: None,
        series: &[
            (
                r#"guestreq_stage_duration_seconds_bucket{stage="psp_queue", message="report", le="1"}"#,
                Rate(100, 90),
            ),
            (
                r#"guestreq_stage_duration_seconds_bucket{stage="psp_queue", message="report", le="2.5"}"#,
                Rate(100, 100),
            ),
            (
                r#"guestreq_stage_duration_seconds_bucket{stage="psp_queue", message="report", le="+Inf"}"#,
                Rate(100, 100),
            ),
        ],
    },
    Row {
        alert: "GuestreqDenied",
        fault: "export",
        after: Some(2),
        over: Some(20),
        series: &[
            (r#"guestreq_vm_first_seen_timestamp_seconds{vm="web"}"#, Began),
            (
                r#"guestreq_decisions_total{vm="web", message="report", decision="deny", mode="enforce"}"#,
                Step(0, 0),
            ),
            (
                r#"guestreq_decisions_total{vm="web", message="import", decision="deny", mode="enforce"}"#,
                Step(2, 0),
            ),
            (
                r#"guestreq_decisions_total{vm="web", message="export", decision="deny", mode="enforce"}"#,
                NewStep(1),
            ),
        ],
    },
    Row {
        alert: "GuestreqThrottledForLong",
        fault: "over",
        after: Some(17),
        over: None,
        series: &[
            (
                r#"guestreq_decisions_total{vm="web", message="report", decision="admit", mode="enforce"}"#,
                Rate(60, 20),
            ),
            (
                r#"guestreq_decisions_total{vm="web", message="report", decision="busy", mode="enforce"}"#,
                NewRate(60),
            ),
        ],
    },
    Row {
        alert: "GuestreqVmpckLost",
        fault: "busy",
        after: Some(2),
        over: Some(20),
        series: &[
            (r#"guestreq_vm_first_seen_timestamp_seconds{vm="web"}"#, Began),
            (r#"guestreq_vmpcks_lost_total{vm="web", cause="busy"}"#, Step(2, 2)),
            (r#"guestreq_vmpcks_lost_total{vm="web", cause="denied"}"#, Step(1, 0)),
        ],
    },
    Row {
        alert: "GuestreqRefusedForLong",
        fault: "waits",
        after: Some(2),
        over: None,
        series: &[(r#"guestreq_oldest_refused_seconds{vm="web"}"#, Level(0, 40))],
    },
    Row {
        alert: "GuestreqRescues",
        fault: "starves",
        after: Some(17),
        over: None,
        series: &[(r#"guestreq_rescued_total{vm="web"}"#, Rate(0, 4))],
    },
    Row {
        alert: "GuestreqSequenceAnomalies",
        fault: "replay",
        after: Some(2),
        over: Some(20),
        series: &[
            (r#"guestreq_vm_first_seen_timestamp_seconds{vm="web"}"#, Began),
            (r#"guestreq_sequence_anomalies_total{vm="web", kind="replay"}"#, Step(2, 2)),
            (r#"guestreq_sequence_anomalies_total{vm="web", kind="gap"}"#, Step(1, 0)),
        ],
    },
    Row {
        alert: "GuestreqEnforcementBypassed",
        fault: "open",
        after: Some(2),
        over: Some(15),
        series: &[("guestreq_enforcement_bypassed_total{}", Step(3, 3))],
    },
    Row {
        alert: "GuestreqEnforcementNotVerified",
        fault: "no gate",
        after: Some(4),
        over: None,
        series: &[
            (
                r#"guestreq_enforcement_info{backend="gate", mode="enforce", verified="true"}"#,
                Until,
            ),
            (
                r#"guestreq_enforcement_info{backend="gate", mode="enforce", verified="false"}"#,
                From,
            ),
        ],
    },
    Row {
        alert: "GuestreqAgentDown",
        fault: "down",
        after: Some(7),
        over: None,
        series: &[(r#"up{}"#, Level(1, 0))],
    },
    Row {
        alert: "GuestreqAgentVanished",
        fault: "vanished",
        after: Some(12),
        over: None,
        series: &[(r#"up{}"#, Until)],
    },
    Row {
        alert: "GuestreqNotCounting",
        fault: "probe",
        after: Some(7),
        over: None,
        series: &[
            (r#"guestreq_probe_attached{probe="kprobe/__sev_do_cmd_locked"}"#, Level(1, 1)),
            (r#"guestreq_probe_attached{probe="kretprobe/__sev_do_cmd_locked"}"#, Level(1, 0)),
        ],
    },
    Row {
        alert: "GuestreqCountsLost",
        fault: "lost",
        after: Some(2),
        over: Some(20),
        series: &[(r#"guestreq_events_lost_total{reason="vm_table_full"}"#, Step(4, 4))],
    },
    Row {
        alert: "GuestreqEventsLost",
        fault: "lost",
        after: Some(2),
        over: Some(20),
        series: &[(r#"guestreq_events_lost_total{reason="ring_buffer_full"}"#, Step(9, 9))],
    },
    Row {
        alert: "GuestreqLogLinesDropped",
        fault: "stuck",
        after: Some(2),
        over: Some(20),
        series: &[("guestreq_log_lines_dropped_total{}", Step(6, 6))],
    },
    Row {
        alert: "GuestreqVmsUnread",
        fault: "locked",
        after: Some(7),
        over: None,
        series: &[("guestreq_vms_unread{}", Level(0, 2))],
    },
    Row {
        alert: "GuestreqConfigReloadFailed",
        fault: "wrong",
        after: Some(6),
        over: None,
        series: &[("guestreq_config_last_reload_successful{}", Level(1, 0))],
    },
    Row {
        alert: "GuestreqMapNearlyFull",
        fault: "threads",
        after: Some(12),
        over: None,
        series: &[
            (r#"guestreq_map_entries{map="threads"}"#, Level(100, 30000)),
            (r#"guestreq_map_capacity{map="threads"}"#, Level(32768, 32768)),
        ],
    },
];
