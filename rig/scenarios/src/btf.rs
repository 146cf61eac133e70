//! # BTF ids of functions
//!
//! BPF programs are attached to functions by their ids in the kernel's BTF or a module's.
//! Documentation/bpf/btf.rst: a header, then types of varying length, then strings.

use std::{fs, mem, os::fd::OwnedFd};

use anyhow::{Context as _, Result};
use aya_obj::generated::{
    bpf_btf_info,
    bpf_cmd::{BPF_BTF_GET_FD_BY_ID, BPF_BTF_GET_NEXT_ID},
};

use crate::bpf;

/// The id of a kernel function.
pub fn of_kernel(function: &str) -> Result<u32> {
    let bytes = read("vmlinux")?;
    let kernel = Btf::of(&bytes, None).context("the kernel's BTF is cut short")?;
    kernel.find(function).with_context(|| format!("{function} is not in the kernel's BTF"))
}

/// A module's BTF and the id of a function in it.
pub fn of_module(module: &str, function: &str) -> Result<(OwnedFd, u32)> {
    let (kernel, bytes) = (read("vmlinux")?, read(module)?);
    let kernel = Btf::of(&kernel, None).context("the kernel's BTF is cut short")?;
    let btf = Btf::of(&bytes, Some(&kernel)).context("the module's BTF is cut short")?;
    let number =
        btf.find(function).with_context(|| format!("{function} is not in the BTF of {module}"))?;
    for id in bpf::ids(BPF_BTF_GET_NEXT_ID) {
        // Unloaded since.
        let Ok(object) = bpf::open_id(BPF_BTF_GET_FD_BY_ID, id) else { continue };
        if name(&object)? == module {
            return Ok((object, number));
        }
    }
    anyhow::bail!("the kernel has no BTF of {module}")
}

fn read(name: &str) -> Result<Vec<u8>> {
    let path = format!("/sys/kernel/btf/{name}");
    fs::read(&path).context(path)
}

/// The module that a BTF object belongs to, or vmlinux.
fn name(object: &OwnedFd) -> Result<String> {
    let mut name = [0_u8; 64];
    // SAFETY: integers, for which zeros are a value.
    let mut info: bpf_btf_info = unsafe { mem::zeroed() };
    info.name = name.as_mut_ptr() as u64;
    info.name_len = name.len() as u32;
    bpf::info(object, &mut info).context("a BTF object's name")?;
    Ok(String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned())
}

/// Parsed BTF. A module's types and strings continue those of the kernel.
struct Btf<'a> {
    bytes: &'a [u8],
    base: Option<&'a Btf<'a>>,
    types: std::ops::Range<usize>,
    strings: std::ops::Range<usize>,
}

impl<'a> Btf<'a> {
    fn of(bytes: &'a [u8], base: Option<&'a Btf<'a>>) -> Option<Btf<'a>> {
        let word = |at: usize| word(bytes, at).map(|word| word as usize);
        let start = word(4)?;
        let (types, strings) = (start + word(8)?, start + word(16)?);
        Some(Btf {
            bytes,
            base,
            types: types..types + word(12)?,
            strings: strings..strings + word(20)?,
        })
    }

    /// Each type's id, kind and name.
    fn types(&self) -> impl Iterator<Item = (u32, u32, usize)> {
        let mut at = self.types.start;
        let mut id = self.base.map_or(1, |base| 1 + base.types().count() as u32);
        std::iter::from_fn(move || {
            if at >= self.types.end {
                return None;
            }
            let (name, info) = (word(self.bytes, at)? as usize, word(self.bytes, at + 4)?);
            let (kind, count) = (info >> 24 & 0x1f, info as usize & 0xffff);
            at += 12;
            at += match kind {
                // integers, variables and tags of declarations
                1 | 14 | 17 => 4,
                // arrays
                3 => 12,
                // structs, unions, sections and enums of 64 bits
                4 | 5 | 15 | 19 => 12 * count,
                // enums and prototypes
                6 | 13 => 8 * count,
                _ => 0,
            };
            id += 1;
            Some((id - 1, kind, name))
        })
    }

    fn find(&self, function: &str) -> Option<u32> {
        const FUNCTION: u32 = 12;
        let mut types = self.types();
        types
            .find(|(_, kind, name)| *kind == FUNCTION && self.is_called(*name, function))
            .map(|(id, _, _)| id)
    }

    fn is_called(&self, name: usize, function: &str) -> bool {
        if let Some(base) = self.base {
            let before = base.strings.len();
            return match name.checked_sub(before) {
                Some(own) => self.has_string(own, function),
                None => base.has_string(name, function),
            };
        }
        self.has_string(name, function)
    }

    fn has_string(&self, at: usize, text: &str) -> bool {
        let rest = self.bytes.get(self.strings.start + at..);
        let after = rest.and_then(|rest| rest.strip_prefix(text.as_bytes()));
        after.and_then(<[u8]>::first) == Some(&0)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btf(types: &[&[u32]], strings: &[u8]) -> Vec<u8> {
        let types = types.concat();
        let header =
            [0x1_eb9f, 24, 0, 4 * types.len() as u32, 4 * types.len() as u32, strings.len() as u32];
        let mut btf: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        btf.extend(types.iter().flat_map(|word| word.to_le_bytes()));
        btf.extend(strings);
        btf
    }

    const INTEGER: [u32; 4] = [0, 1 << 24, 4, 32];
    const PROTOTYPE: [u32; 5] = [0, 13 << 24 | 1, 1, 0, 1];

    fn function(name: u32) -> [u32; 3] {
        [name, 12 << 24, 2]
    }

    #[test]
    fn a_function_is_found_behind_other_types() {
        let bytes = btf(&[&INTEGER, &PROTOTYPE, &function(5)], b"\0int\0fileio\0");
        let kernel = Btf::of(&bytes, None).unwrap();
        assert_eq!(kernel.find("fileio"), Some(3));
        assert_eq!(kernel.find("file"), None);
        assert!(Btf::of(&bytes[..20], None).is_none());
        assert_eq!(Btf::of(&bytes[..40], None).unwrap().find("fileio"), None);
    }

    #[test]
    fn ids_and_strings_of_a_module_continue_those_of_the_kernel() {
        let bytes = btf(&[&INTEGER, &PROTOTYPE, &function(5)], b"\0int\0fileio\0");
        let kernel = Btf::of(&bytes, None).unwrap();
        let bytes = btf(&[&function(5), &function(13)], b"\0sev\0");
        let module = Btf::of(&bytes, Some(&kernel)).unwrap();
        assert_eq!(module.find("sev"), Some(5));
        // A string that the kernel's BTF has is not repeated.
        assert_eq!(module.find("fileio"), Some(4));
    }
}
