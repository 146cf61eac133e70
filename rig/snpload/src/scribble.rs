//! # Overwriting pages that the host reads
//!
//! GHCB and request page stay writable for the guest while the host works on them. A thread writes
//! there all the time: exit codes, addresses, the valid bitmap, and the message header.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, scope, yield_now};

use anyhow::{Context, Result};

use crate::ghcb::{EXIT_CODES, FIELDS, SW_EXIT_CODE, VALID_BITMAP};
use crate::memory::GuestMemory;
use crate::noise::Noise;

/// The addresses of a vCPU's pages.
#[derive(Clone, Copy)]
pub struct Pages {
    pub ghcb: u64,
    pub request: u64,
    /// Valid addresses, and an invalid one.
    pub addresses: [u64; 5],
}

/// Words of the header: sequence number, type and sizes, key.
const HEADER_WORDS: [u64; 3] = [0x20, 0x30, 0x38];
/// The word of type and sizes in a valid header, without the type.
const VALID: u64 = 0x0060_0100_0060_0101;
/// Words written before yielding.
const BURST: u32 = 32;

/// Does the work while another thread writes.
pub fn scribble<T>(
    memory: &GuestMemory,
    pages: Pages,
    mut noise: Noise,
    work: impl FnOnce() -> T,
) -> Result<T> {
    let over = AtomicBool::new(false);
    let write = || -> Result<()> {
        while !over.load(Ordering::Relaxed) {
            for _ in 0..BURST {
                let (gpa, value) = one(pages, &mut noise);
                memory.word(gpa)?.store(value, Ordering::Relaxed);
            }
            yield_now();
        }
        Ok(())
    };
    scope(|threads| {
        let thread = Builder::new().name("scribble".into()).stack_size(128 << 10);
        let thread = thread.spawn_scoped(threads, write).context("no thread that writes")?;
        let done = work();
        over.store(true, Ordering::Relaxed);
        match thread.join() {
            Ok(written) => written.map(|()| done),
            Err(_) => anyhow::bail!("the thread that writes panicked"),
        }
    })
}

/// The next address and value.
fn one(pages: Pages, noise: &mut Noise) -> (u64, u64) {
    if noise.next().is_multiple_of(2) {
        let word = noise.pick(&HEADER_WORDS);
        let kind = noise.next() & 0xff;
        let value = match word {
            0x30 => noise.either(VALID | kind << 32),
            _ => noise.either(1),
        };
        return (pages.request + word, value);
    }
    let field = noise.pick(&FIELDS);
    let value = match field {
        SW_EXIT_CODE => noise.pick(&EXIT_CODES),
        VALID_BITMAP.. => noise.either(u64::MAX),
        _ => noise.pick(&pages.addresses),
    };
    (pages.ghcb + field as u64, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_where_the_host_reads_and_ends_with_the_work() {
        let memory = GuestMemory::new(0x5000).unwrap();
        let pages = Pages { ghcb: 0x1000, request: 0x2000, addresses: [1, 2, 3, 4, 5] };
        let seen = scribble(&memory, pages, Noise::of(1, 0, 0), || {
            let mut seen = (false, false);
            while seen != (true, true) {
                seen.0 |= memory.read_u64(0x1390).unwrap() != 0;
                seen.1 |= memory.read_u64(0x2030).unwrap() != 0;
            }
            seen
        });
        assert_eq!(seen.unwrap(), (true, true));
        for gpa in (0x3000..0x5000).step_by(8) {
            assert_eq!(memory.read_u64(gpa).unwrap(), 0, "{gpa:#x}");
        }
    }
}
