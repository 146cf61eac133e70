//! # Where a hook's program stands
//!
//! What is attached to a hook is a few instructions that jump through a program
//! array. So another build's programs take over by a write into an array, which
//! each event sees either before or after: none is handled twice, none by nobody.
//! An array holds programs of one type, and each has its place here.

/// Places in the array of kprobes' and return probes' programs.
pub mod kprobe {
    pub const GUEST_REQUEST: u32 = 0;
    pub const ISSUE_COMMAND: u32 = 1;
    pub const COMMAND_START: u32 = 2;
    pub const COMMAND_END: u32 = 3;
    /// Where `command_start` goes on with a request that nobody has decided.
    pub const UNDECIDED: u32 = 4;
    pub const PLACES: u32 = 8;
}

/// Places in the array of raw tracepoints' programs.
pub mod tracepoint {
    pub const VMGEXIT_ENTER: u32 = 0;
    pub const VMGEXIT_EXIT: u32 = 1;
    pub const USERSPACE_EXIT: u32 = 2;
    pub const THREAD_EXIT: u32 = 3;
    pub const PLACES: u32 = 8;
}

/// The one place in the array of each LSM hook's program.
pub mod lsm {
    pub const FILE_IOCTL: u32 = 0;
    pub const PLACES: u32 = 1;
}
