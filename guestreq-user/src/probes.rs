//! # Probes: hooks and their programs

use guestreq_common::tail_calls;

pub enum ProbeKind {
    /// Return probes as well: the program knows which.
    Kprobe,
    RawTracepoint,
    Lsm,
}

/// A hook, the program attached to it, and the programs that that jumps to.
pub struct Probe {
    /// As users see it, in logs and in `guestreq_probe_attached`.
    pub name: &'static str,
    /// The attached program.
    pub entry: &'static str,
    /// The program that it jumps to through a program array.
    pub program: &'static str,
    pub place: (&'static str, u32),
    /// The programs to which that one jumps in turn, and their indices in the same array: each
    /// after those that it jumps to itself.
    pub then: &'static [(&'static str, u32)],
    pub kind: ProbeKind,
    pub target: &'static str,
    /// The module that has the target.
    pub module: Option<&'static str>,
    /// What is unavailable without it; `None`: nothing can be counted.
    pub loses: Option<&'static str>,
}

/// Replaces [`WANTS_LOCK`] while that is not attached: it runs for every VMGEXIT.
pub const FALLBACK: &str = "raw_tracepoint/kvm_vmgexit_enter";
pub const WANTS_LOCK: &str = "kprobe/snp_handle_guest_req";
/// Answers the gate, and holds vCPUs.
pub const IOCTL: &str = "lsm/file_ioctl";
pub const IOCTL_ENTRY: &str = "on_file_ioctl";
pub const IOCTL_COMPAT: &str = "lsm/file_ioctl_compat";

/// In the order of attaching: from the end of a request to its beginning, so that none is seen in
/// part. The tracepoints are kvm's but follow kvm_amd, as they keep kvm loaded.
pub const PROBES: [Probe; 10] = [
    Probe {
        name: "raw_tracepoint/sched_process_exit",
        entry: "on_thread_exit",
        program: "thread_exit",
        place: ("TRACEPOINTS", tail_calls::tracepoint::THREAD_EXIT),
        then: &[],
        kind: ProbeKind::RawTracepoint,
        target: "sched_process_exit",
        module: None,
        loses: None,
    },
    Probe {
        name: "kretprobe/__sev_do_cmd_locked",
        entry: "on_command_end",
        program: "command_end",
        place: ("KPROBES", tail_calls::kprobe::COMMAND_END),
        then: &[("command_end_slow", tail_calls::kprobe::COMMAND_END_SLOW)],
        kind: ProbeKind::Kprobe,
        target: "__sev_do_cmd_locked",
        module: Some("ccp"),
        loses: None,
    },
    Probe {
        name: "kprobe/__sev_do_cmd_locked",
        entry: "on_command_start",
        program: "command_start",
        place: ("KPROBES", tail_calls::kprobe::COMMAND_START),
        then: &[
            ("hold", tail_calls::kprobe::HOLD),
            ("undecided_unknown", tail_calls::kprobe::UNDECIDED_UNKNOWN),
            ("undecided", tail_calls::kprobe::UNDECIDED),
            ("command_start_slow", tail_calls::kprobe::COMMAND_START_SLOW),
        ],
        kind: ProbeKind::Kprobe,
        target: "__sev_do_cmd_locked",
        module: Some("ccp"),
        loses: None,
    },
    Probe {
        name: IOCTL,
        entry: IOCTL_ENTRY,
        program: "file_ioctl",
        place: ("IOCTLS", tail_calls::lsm::FILE_IOCTL),
        then: &[
            ("file_ioctl_decide_unknown", tail_calls::lsm::FILE_IOCTL_DECIDE_UNKNOWN),
            ("file_ioctl_decide", tail_calls::lsm::FILE_IOCTL_DECIDE),
            ("file_ioctl_slow", tail_calls::lsm::FILE_IOCTL_SLOW),
        ],
        kind: ProbeKind::Lsm,
        target: "file_ioctl",
        module: None,
        loses: Some("enforcement"),
    },
    Probe {
        name: IOCTL_COMPAT,
        entry: "on_ioctl_compat",
        program: "ioctl_compat",
        place: ("IOCTLS_COMPAT", tail_calls::lsm::FILE_IOCTL),
        then: &[],
        kind: ProbeKind::Lsm,
        target: "file_ioctl_compat",
        module: None,
        loses: Some("holding vCPUs of 32-bit VMMs"),
    },
    Probe {
        name: "kprobe/sev_issue_cmd_external_user",
        entry: "on_issue_command",
        program: "issue_command",
        place: ("KPROBES", tail_calls::kprobe::ISSUE_COMMAND),
        then: &[("issue_command_slow", tail_calls::kprobe::ISSUE_COMMAND_SLOW)],
        kind: ProbeKind::Kprobe,
        target: "sev_issue_cmd_external_user",
        module: Some("ccp"),
        loses: Some("the time in the PSP's queue, and its length"),
    },
    Probe {
        name: WANTS_LOCK,
        entry: "on_guest_request",
        program: "guest_request",
        place: ("KPROBES", tail_calls::kprobe::GUEST_REQUEST),
        then: &[("guest_request_slow", tail_calls::kprobe::GUEST_REQUEST_SLOW)],
        kind: ProbeKind::Kprobe,
        target: "snp_handle_guest_req",
        module: Some("kvm_amd"),
        loses: Some("the exact moment at which KVM wants the VM's lock (the VMGEXIT's is taken)"),
    },
    Probe {
        name: "raw_tracepoint/kvm_userspace_exit",
        entry: "on_userspace_exit",
        program: "userspace_exit",
        place: ("TRACEPOINTS", tail_calls::tracepoint::USERSPACE_EXIT),
        then: &[],
        kind: ProbeKind::RawTracepoint,
        target: "kvm_userspace_exit",
        module: Some("kvm_amd"),
        loses: Some("which requests fail on the host before the PSP: they count as lost"),
    },
    Probe {
        name: "raw_tracepoint/kvm_vmgexit_exit",
        entry: "on_vmgexit_exit",
        program: "vmgexit_exit",
        place: ("TRACEPOINTS", tail_calls::tracepoint::VMGEXIT_EXIT),
        then: &[],
        kind: ProbeKind::RawTracepoint,
        target: "kvm_vmgexit_exit",
        module: Some("kvm_amd"),
        loses: Some("the answers to guests, and which requests are extended ones"),
    },
    Probe {
        name: FALLBACK,
        entry: "on_vmgexit_enter",
        program: "vmgexit_enter",
        place: ("TRACEPOINTS", tail_calls::tracepoint::VMGEXIT_ENTER),
        then: &[],
        kind: ProbeKind::RawTracepoint,
        target: "kvm_vmgexit_enter",
        module: Some("kvm_amd"),
        loses: Some("the moment at which KVM wants the VM's lock"),
    },
];
