//! # Slots of the program arrays
//!
//! A hook's attached program only tail-calls through a program array. A new agent's programs take
//! over by one write into an array: each event runs either the old program or the new one, never
//! both or neither. An array holds programs of one type; each has a fixed slot.
//!
//! Most hooks have two programs: a short one for nearly every request, and `…_slow` for the rest,
//! so that the code that runs often stays within few pages.

/// Placeholder for the kernel function `bpf_rdonly_cast` in the object, where no helper has this number.
/// Its number differs between kernels; the agent patches it in.
pub const RDONLY_CAST: u32 = u32::from_le_bytes(*b"cast");

/// The array of kprobe and kretprobe programs.
pub mod kprobe {
    pub const GUEST_REQUEST: u32 = 0;
    pub const ISSUE_COMMAND: u32 = 1;
    pub const COMMAND_START: u32 = 2;
    pub const COMMAND_END: u32 = 3;
    /// From `command_start`: a request without a decision that its policy alone does not admit.
    pub const UNDECIDED: u32 = 4;
    /// From there: of a VM without a record.
    pub const UNDECIDED_UNKNOWN: u32 = 10;
    /// From `undecided`: the vCPU must be held.
    pub const HOLD: u32 = 9;
    /// The slow paths of the first four.
    pub const GUEST_REQUEST_SLOW: u32 = 5;
    pub const ISSUE_COMMAND_SLOW: u32 = 6;
    pub const COMMAND_START_SLOW: u32 = 7;
    pub const COMMAND_END_SLOW: u32 = 8;
    pub const SLOTS: u32 = 16;
}

/// The array of raw tracepoint programs.
pub mod tracepoint {
    pub const VMGEXIT_ENTER: u32 = 0;
    pub const VMGEXIT_EXIT: u32 = 1;
    pub const USERSPACE_EXIT: u32 = 2;
    pub const THREAD_EXIT: u32 = 3;
    pub const SLOTS: u32 = 8;
}

/// Each LSM hook's array.
pub mod lsm {
    pub const FILE_IOCTL: u32 = 0;
    pub const FILE_IOCTL_SLOW: u32 = 1;
    /// From both: a request whose policy alone does not admit it.
    pub const FILE_IOCTL_DECIDE: u32 = 2;
    /// From there: of a VM without a record.
    pub const FILE_IOCTL_DECIDE_UNKNOWN: u32 = 3;
    pub const SLOTS: u32 = 4;
}
