//! # Free ports of 127.0.0.1

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below Linux' ephemeral ports: an outgoing connection could take one of those before it is bound.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A free port that this process has not returned before.
pub fn free() -> Result<u16> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Successive processes start far apart.
    let start = process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let count = u32::from(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + (start.wrapping_add(count) % u32::from(COUNT)) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of 127.0.0.1 from {FIRST} to {} is free", FIRST + COUNT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_returned_once_and_is_never_ephemeral() {
        let (one, other) = (free().unwrap(), free().unwrap());
        assert_ne!(one, other);
        assert!((FIRST..FIRST + COUNT).contains(&one), "{one}");
    }
}
