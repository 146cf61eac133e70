//! # Pinned maps of any origin

#![allow(clippy::expect_used, reason = "as in tests: what is promised is asserted")]

use std::{
    fs::File,
    io::Write as _,
    os::fd::{AsFd as _, FromRawFd as _},
};

use aya::maps::MapType;
use guestreq_common::{SCHEMA, host::Host};

use super::{Found, MAPS, Seen, found, records};
use crate::{
    bpf::kernel_constants::KernelConstants,
    fuzz::{Input, assert_a_line},
};

/// Input: how VMS and THREADS differ from this version's, and the words of HOST.
pub fn pins(data: &[u8]) {
    let mut input = Input(data);
    let (vms, threads) = (input.u32(), input.u32());
    map(&mut input);
    let present = input.byte();
    let record = record(&mut input);
    let signature = (present & 1 == 1).then(|| signature(&record));
    let size = |bit: u8, size| (present & bit == bit).then_some(size);
    let (vms, threads) = (size(2, vms), size(4, threads));
    let schema = signature.map_or(0, |(schema, _)| schema);
    match found(vms, threads, signature) {
        Ok(Found::Ours { max_vms, threads: places, words }) => {
            assert_eq!((Some(max_vms), Some(places)), (vms, threads));
            assert!(max_vms > 0 && places.count_ones() == 1, "no agent makes such maps");
            assert_eq!(words.is_some(), schema == u64::from(SCHEMA));
            assert!(schema == 0 || words.is_some(), "another schema's");
        }
        Ok(Found::Nothing) => assert_eq!((vms, threads), (None, None)),
        Ok(Found::Foreign(_)) => unreachable!("foreign maps are an error here"),
        Err(error) => assert_a_line(&format!("{error:#}")),
    }
}

/// A map passes only if it matches this version's exactly.
fn map(input: &mut Input<'_>) {
    let (name, kind, key, value) = MAPS[usize::from(input.byte()) % MAPS.len()];
    let (_, other, ..) = MAPS[usize::from(input.byte()) % MAPS.len()];
    let bytes: [u8; 16] = input.bytes();
    let found = String::from_utf8_lossy(&bytes);
    let found = if bytes[0] == 0 { name } else { found.trim_end_matches('\0') };
    // Most inputs are almost this version's.
    let off_by = |size: u32, by: u8| size.wrapping_add(u32::from(by));
    let seen = Seen {
        kind: Some(other),
        name: Some(found),
        elements: (off_by(key, input.byte()), off_by(value, input.byte())),
        entries: u32::from(input.byte()),
    };
    let places = if kind == MapType::ProgramArray { super::places(name) } else { 0 };
    let same = other == kind && found == name && seen.elements == (key, value);
    match seen.check_version(name, kind, (key, value)) {
        Ok(()) => assert!(same && seen.entries >= places, "{name} passes"),
        Err(error) => {
            assert!(!same || seen.entries < places, "{name} is refused: {error}");
            let error = error.to_string();
            assert_a_line(&error);
            assert!(error.starts_with(name), "{error}");
        }
    }
}

/// HOST's bytes.
fn record(input: &mut Input<'_>) -> Vec<u8> {
    let mut record = vec![0; size_of::<Host>()];
    let words: [u8; 8] = input.bytes();
    let schema = std::mem::offset_of!(Host, schema);
    record[schema..schema + 8].copy_from_slice(&words);
    let rest = input.0;
    for (to, from) in record.iter_mut().zip(rest) {
        *to ^= from;
    }
    record
}

/// Reads it as the agent does and compares it with the bytes.
fn signature(record: &[u8]) -> (u64, KernelConstants) {
    // SAFETY: the name is a C string; a new descriptor is nobody else's.
    let mut file = unsafe { File::from_raw_fd(libc::memfd_create(c"HOST".as_ptr(), 0)) };
    file.write_all(record).expect("a file in memory");
    let (schema, words) = records::signature(file.as_fd()).expect("a record that is there");
    let word = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().expect("eight bytes"));
    assert_eq!(schema, word(std::mem::offset_of!(Host, schema)));
    assert_eq!(words.page_offset, word(std::mem::offset_of!(Host, page_offset)));
    assert_eq!(words.encryption_mask, word(std::mem::offset_of!(Host, encryption_mask)));
    (schema, words)
}
