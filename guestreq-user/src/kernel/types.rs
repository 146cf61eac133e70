//! # Offsets of members of the kernel's structures
//!
//! aya reads type ids from the kernel's BTF, but no members. The format is that of
//! Documentation/bpf/btf.rst.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::host::system::System;

pub const FILE: &str = "/sys/kernel/btf/vmlinux";
/// Structures and their members that the programs read.
pub const SIGNAL_OF_TASK: (&str, &str) = ("task_struct", "signal");
pub const LIVE_OF_SIGNAL: (&str, &str) = ("signal_struct", "live");

/// The kernel's types.
pub struct Types(Vec<u8>);

/// Sizes of a type's header and of a member, in bytes.
const TYPE: usize = 12;
const MEMBER: usize = 12;

impl Types {
    pub fn read(system: &System) -> Result<Types> {
        Ok(Types(fs::read(system.path(FILE)).context(FILE)?))
    }

    /// How long they are in BTF.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// A member's offset in bytes.
    pub fn offset(&self, (structure, member): (&str, &str)) -> Result<u32> {
        let found = self.find(structure, member);
        found.with_context(|| format!("{FILE} has no {structure}.{member}"))?
    }

    /// `None` if there is none, or the bytes are not BTF.
    fn find(&self, structure: &str, member: &str) -> Option<Result<u32>> {
        // After magic number, version and flags: the header's length, and the offsets of types and
        // strings after it.
        let [header, types, types_len, strings] = [4, 8, 12, 16].map(|at| self.word(at));
        let header = header?;
        let (mut at, strings) = (header + types?, header + strings?);
        let end = at + types_len?;
        while at + TYPE <= end {
            let info = self.word(at + 4)?;
            let (kind, members) = (info >> 24 & 0x1f, info & 0xffff);
            let is_it = kind == STRUCT && self.is_string(strings + self.word(at)?, structure);
            at += TYPE;
            if is_it {
                // With the kind's flag the word also has a bit field's length.
                let mask = if info >> 31 == 1 { 0x00ff_ffff } else { usize::MAX };
                let mut members = (0..members).map(|i| at + i * MEMBER);
                let found = members.find(|at| {
                    self.word(*at).is_some_and(|name| self.is_string(strings + name, member))
                })?;
                let bits = self.word(found + 8)? & mask;
                return Some(u32::try_from(bits / 8).context("its offset"));
            }
            at += match size_behind(kind, members) {
                Ok(size) => size,
                Err(error) => return Some(Err(error)),
            };
        }
        None
    }

    fn word(&self, at: usize) -> Option<usize> {
        let bytes = self.0.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    }

    fn is_string(&self, at: usize, name: &str) -> bool {
        let bytes = self.0.get(at..at + name.len() + 1);
        bytes.is_some_and(|bytes| &bytes[..name.len()] == name.as_bytes() && bytes[name.len()] == 0)
    }
}

const STRUCT: usize = 4;

/// How many bytes come after a type's header: BTF_KIND_* in include/uapi/linux/btf.h.
fn size_behind(kind: usize, members: usize) -> Result<usize> {
    Ok(match kind {
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 4,
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        // ARRAY
        3 => 12,
        // ENUM, FUNC_PROTO
        6 | 13 => members * 8,
        // STRUCT, UNION, DATASEC, ENUM64
        4 | 5 | 15 | 19 => members * 12,
        _ => bail!("{FILE} has types of an unknown kind: {kind}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// An INT, a PTR, `struct b { int y; }` and `struct a { int x, y; }`.
    fn types(a_flag: u32) -> Types {
        let strings = b"\0int\0a\0b\0x\0y\0";
        let [int, a, b, x, y] = [1, 5, 7, 9, 11];
        let types = [
            words(&[int, 1 << 24, 4, 32]),
            words(&[0, 2 << 24, 1]),
            words(&[b, 4 << 24 | 1, 4, y, 1, 8]),
            words(&[a, a_flag << 31 | 4 << 24 | 2, 8, x, 1, 0, y, 1, a_flag << 24 | 320]),
        ];
        let types = types.concat();
        let length = types.len() as u32;
        let mut bytes = words(&[0x0001_eb9f, 24, 0, length, length, strings.len() as u32]);
        bytes.extend(types);
        bytes.extend(strings);
        Types(bytes)
    }

    #[test]
    fn a_member_is_found_in_its_structure() {
        for flag in [0, 1] {
            let types = types(flag);
            assert_eq!(types.offset(("a", "x")).unwrap(), 0);
            assert_eq!(types.offset(("a", "y")).unwrap(), 40);
            assert_eq!(types.offset(("b", "y")).unwrap(), 1);
            for (structure, member) in [("b", "x"), ("c", "x"), ("int", "x"), ("a", "")] {
                assert!(types.offset((structure, member)).is_err(), "{structure}.{member}");
            }
        }
    }

    #[test]
    fn bytes_that_are_not_btf_have_no_members() {
        let whole = types(0).0;
        for end in 0..whole.len() {
            let _ = Types(whole[..end].to_vec()).offset(("a", "y"));
        }
        assert!(Types(Vec::new()).offset(("a", "y")).is_err());
        let mut strange = whole.clone();
        // The PTR, after the INT.
        strange[24 + 16 + 7] = 31;
        let error = Types(strange).offset(("a", "y")).unwrap_err().to_string();
        assert!(error.contains("unknown kind: 31"), "{error}");
    }
}
