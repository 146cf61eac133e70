//! # A word of kernel memory, by its symbol
//!
//! By a program of type BPF_PROG_TYPE_SYSCALL, which runs once, at a bpf(2) call, and is never
//! attached. It finds the symbol with a helper that only this type has: reading the 200,000 lines of
//! /proc/kallsyms takes a second on a slow machine. aya does not load this type, so the few
//! instructions are here (kernel/bpf/syscall.c, `syscall_prog_func_proto`; Linux 5.16).

use std::{io, os::fd::AsFd as _};

use anyhow::{Context as _, Result, ensure};

use crate::kernel::{bpf_syscall, symbols};

/// Room for a symbol's name on the program's stack, with its final 0.
const NAME_BYTES: usize = 32;
/// Places on the stack, from its end.
const NAME: i16 = -(NAME_BYTES as i16);
const ADDRESS: i16 = NAME - 8;
const WORD: i16 = ADDRESS - 8;

/// Helpers (include/uapi/linux/bpf.h).
const KALLSYMS_LOOKUP_NAME: i32 = 179;
const PROBE_READ_KERNEL: i32 = 113;

/// Registers (include/uapi/linux/bpf.h): results, arguments, one that calls keep, the stack's end.
const R0: u64 = 0;
const R1: u64 = 1;
const R2: u64 = 2;
const R3: u64 = 3;
const R4: u64 = 4;
const R6: u64 = 6;
const R10: u64 = 10;

/// Reads the word at a symbol.
pub fn read(symbol: &str) -> Result<u64> {
    let program = bpf_syscall::load_syscall_program("kernel_word", &program(symbol)?)
        .context("loading the program that reads kernel memory")?;
    let mut word = [0];
    match bpf_syscall::run_syscall_program(program.as_fd(), &mut word)
        .context("running the program that reads kernel memory")?
    {
        0 => Ok(word[0]),
        error => Err(explained(symbol, -error)),
    }
}

fn explained(symbol: &str, error: i32) -> anyhow::Error {
    match error {
        libc::EPERM => symbols::hidden().into(),
        libc::ENOENT => symbols::absent(symbol).into(),
        _ => anyhow::Error::new(io::Error::from_raw_os_error(error))
            .context(format!("reading {symbol}")),
    }
}

/// Returns an error as a negative number, or 0 with the word in its context.
fn program(symbol: &str) -> Result<Vec<u64>> {
    let mut name = [0; NAME_BYTES];
    ensure!(symbol.len() < NAME_BYTES, "{symbol:?} is too long for a symbol");
    name[..symbol.len()].copy_from_slice(symbol.as_bytes());
    let size = symbol.len() as i32 + 1;

    let mut code = vec![copy(R6, R1)];
    for (i, part) in name.as_chunks::<8>().0.iter().enumerate() {
        code.extend(constant(R1, u64::from_le_bytes(*part)));
        code.push(store(R10, NAME + 8 * i as i16, R1));
    }
    code.extend([
        set(R1, 0),
        store(R10, ADDRESS, R1),
        copy(R1, R10),
        add(R1, NAME.into()),
        set(R2, size),
        set(R3, 0),
        copy(R4, R10),
        add(R4, ADDRESS.into()),
        call(KALLSYMS_LOOKUP_NAME),
        // Over all but the end.
        skip_unless_0(R0, 8),
        load(R3, R10, ADDRESS),
        copy(R1, R10),
        add(R1, WORD.into()),
        set(R2, 8),
        call(PROBE_READ_KERNEL),
        skip_unless_0(R0, 2),
        load(R1, R10, WORD),
        store(R6, 0, R1),
        exit(),
    ]);
    Ok(code)
}

/// An instruction: its code, destination, source, offset and immediate operand
/// (Documentation/bpf/standardization/instruction-set.rst).
const fn instruction(code: u8, to: u64, from: u64, offset: i16, operand: i32) -> u64 {
    code as u64
        | to << 8
        | from << 12
        | (offset as u16 as u64) << 16
        | (operand as u32 as u64) << 32
}

const fn copy(to: u64, from: u64) -> u64 {
    instruction(0xbf, to, from, 0, 0)
}

const fn set(to: u64, number: i32) -> u64 {
    instruction(0xb7, to, 0, 0, number)
}

const fn add(to: u64, number: i32) -> u64 {
    instruction(0x07, to, 0, 0, number)
}

/// 64 bits, half of them in a second instruction.
const fn constant(to: u64, number: u64) -> [u64; 2] {
    let (low, high) = (number as u32 as i32, (number >> 32) as u32 as i32);
    [instruction(0x18, to, 0, 0, low), instruction(0, 0, 0, 0, high)]
}

const fn load(to: u64, base: u64, offset: i16) -> u64 {
    instruction(0x79, to, base, offset, 0)
}

const fn store(base: u64, offset: i16, from: u64) -> u64 {
    instruction(0x7b, base, from, offset, 0)
}

const fn skip_unless_0(register: u64, instructions: i16) -> u64 {
    instruction(0x55, register, 0, instructions, 0)
}

const fn call(helper: i32) -> u64 {
    instruction(0x85, 0, 0, 0, helper)
}

const fn exit() -> u64 {
    instruction(0x95, 0, 0, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_that_does_not_fit_the_stack_is_an_error() {
        assert!(program(&"x".repeat(31)).is_ok());
        assert!(program(&"x".repeat(32)).unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn each_jump_ends_at_the_exit() {
        let code = program("sme_me_mask").unwrap();
        assert_eq!(code.last(), Some(&exit()));
        let jumps = code.iter().enumerate().filter(|(_, it)| **it as u8 == 0x55);
        let ends: Vec<_> = jumps.map(|(at, it)| at + 1 + (it >> 16) as u16 as usize).collect();
        assert_eq!(ends, [code.len() - 1; 2]);
    }

    #[test]
    fn errors_say_what_to_do() {
        let text = |error| format!("{:#}", explained("sme_me_mask", error));
        assert!(text(libc::EPERM).contains("kptr_restrict"));
        assert!(text(libc::ENOENT).contains("/proc/kallsyms has no sme_me_mask"));
        assert!(text(libc::EFAULT).starts_with("reading sme_me_mask: Bad address"));
    }
}
