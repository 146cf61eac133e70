//! # Where a hook's program stands
//!
//! What is attached to a hook is a few instructions that jump through a program
//! array. So another build's programs take over by a write into an array, which
//! each event sees either before or after: none is handled twice, none by nobody.
//! An array holds programs of one type, and each has its place here.
//!
//! Most hooks have two programs: a short one that does what nearly every request
//! needs, and jumps to a second one, `…_slow`, with all else. So what runs often is
//! close together, in few pages of code.

/// The number of a helper that there is not, by which the object calls the kernel's function
/// `bpf_rdonly_cast`. The agent replaces these calls, as its number differs from kernel to kernel.
pub const RDONLY_CAST: u32 = u32::from_le_bytes(*b"cast");

/// Places in the array of kprobes' and return probes' programs.
pub mod kprobe {
    pub const GUEST_REQUEST: u32 = 0;
    pub const ISSUE_COMMAND: u32 = 1;
    pub const COMMAND_START: u32 = 2;
    pub const COMMAND_END: u32 = 3;
    /// Where `command_start` goes on with a request that nobody has decided, and that does not
    /// pass by its policy alone.
    pub const UNDECIDED: u32 = 4;
    /// Where that one goes on with a vCPU that is to be held.
    pub const HOLD: u32 = 9;
    /// Where the first four go on with what is not usual.
    pub const GUEST_REQUEST_SLOW: u32 = 5;
    pub const ISSUE_COMMAND_SLOW: u32 = 6;
    pub const COMMAND_START_SLOW: u32 = 7;
    pub const COMMAND_END_SLOW: u32 = 8;
    pub const PLACES: u32 = 16;
}

/// Places in the array of raw tracepoints' programs.
pub mod tracepoint {
    pub const VMGEXIT_ENTER: u32 = 0;
    pub const VMGEXIT_EXIT: u32 = 1;
    pub const USERSPACE_EXIT: u32 = 2;
    pub const THREAD_EXIT: u32 = 3;
    pub const PLACES: u32 = 8;
}

/// Places in the array of each LSM hook's programs.
pub mod lsm {
    pub const FILE_IOCTL: u32 = 0;
    /// Where it goes on with what is not usual.
    pub const FILE_IOCTL_SLOW: u32 = 1;
    pub const PLACES: u32 = 2;
}
