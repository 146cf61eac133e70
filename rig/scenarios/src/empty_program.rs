//! # Empty BPF programs
//!
//! `return 0` on a hook: what the kernel's own machinery costs.

use std::{
    ffi::CString,
    fs, io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{
    PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF,
    bpf_prog_type::{BPF_PROG_TYPE_KPROBE, BPF_PROG_TYPE_RAW_TRACEPOINT},
    perf_event_attr,
};

use crate::bpf;

#[derive(Clone, Copy, Debug)]
pub enum Hook {
    Kprobe(&'static str),
    Kretprobe(&'static str),
    RawTracepoint(&'static str),
}

/// An attached program; detached when dropped.
pub struct EmptyProgram {
    program: OwnedFd,
    _link: OwnedFd,
}

/// `config` of the kprobe PMU: the event is a return probe.
const RETURN_PROBE: u64 = 1;

/// `r0 = 0; exit`
pub static PROGRAM: [u64; 2] = [0xb7, 0x95];

impl EmptyProgram {
    pub fn attach(hook: Hook) -> Result<EmptyProgram> {
        match hook {
            Hook::RawTracepoint(name) => EmptyProgram::raw_tracepoint(name),
            Hook::Kprobe(function) => EmptyProgram::kprobe(function, 0),
            Hook::Kretprobe(function) => EmptyProgram::kprobe(function, RETURN_PROBE),
        }
    }

    fn raw_tracepoint(name: &str) -> Result<EmptyProgram> {
        let program = bpf::load(BPF_PROG_TYPE_RAW_TRACEPOINT, &PROGRAM)?;
        let link = bpf::attach_raw_tracepoint(Some(&CString::new(name)?), &program);
        Ok(EmptyProgram { program, _link: link.context("BPF_RAW_TRACEPOINT_OPEN")? })
    }

    fn kprobe(function: &str, config: u64) -> Result<EmptyProgram> {
        let program = bpf::load(BPF_PROG_TYPE_KPROBE, &PROGRAM)?;
        let event_type = fs::read_to_string("/sys/bus/event_source/devices/kprobe/type")?;
        let function = CString::new(function)?;
        // SAFETY: integers, for which zeros are a value.
        let mut attributes: perf_event_attr = unsafe { mem::zeroed() };
        attributes.type_ = event_type.trim().parse()?;
        attributes.size = size_of::<perf_event_attr>() as u32;
        attributes.config = config;
        attributes.__bindgen_anon_3.kprobe_func = function.as_ptr() as u64;
        // SAFETY: attributes and name outlive the call.
        let event = unsafe {
            libc::syscall(libc::SYS_perf_event_open, &raw const attributes, -1, 0, -1, 0)
        };
        if event < 0 {
            return Err(io::Error::last_os_error()).context("perf_event_open");
        }
        // SAFETY: a descriptor that the kernel has just made for us.
        let event = unsafe { OwnedFd::from_raw_fd(event as RawFd) };
        for (request, argument) in
            [(PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()), (PERF_EVENT_IOC_ENABLE, 0)]
        {
            // SAFETY: both requests take a number.
            let ret = unsafe { libc::ioctl(event.as_raw_fd(), request as _, argument) };
            if ret < 0 {
                return Err(io::Error::last_os_error()).context("the perf event");
            }
        }
        Ok(EmptyProgram { program, _link: event })
    }

    /// Runs and seconds, from the kernel's statistics.
    pub fn totals(&self) -> Result<(f64, f64)> {
        let info = bpf::program_info(&self.program).context("BPF_OBJ_GET_INFO_BY_FD")?;
        Ok((info.run_cnt as f64, info.run_time_ns as f64 / 1e9))
    }
}
