//! # A raw_tracepoint that the agent runs and never attaches
//!
//! Reads one word of kernel memory for the agent when it starts: the start of the direct map, or the
//! encryption bit.

use aya_ebpf::{
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};

use crate::kernel;

/// The word, and 1 once it has been read.
#[map]
static WORD: Array<[u64; 2]> = Array::with_max_entries(1, 0);

#[raw_tracepoint]
pub fn read_kernel(ctx: RawTracePointContext) -> i32 {
    if let Some(word) = kernel::read::<u64>(ctx.arg(0)) {
        let _ = WORD.set(0, [word, 1], 0);
    }
    0
}
