//! # EmptyProgram BPF programs
//!
//! `return 0` on a hook: what the kernel's own machinery costs.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result};

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

const BPF_RAW_TRACEPOINT_OPEN: i64 = 17;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
const PERF_EVENT_IOC_SET_BPF: u64 = 0x4004_2408;
const PERF_EVENT_IOC_ENABLE: u64 = 0x2400;
/// `config` of the kprobe PMU: the event is a return probe.
const RETURN_PROBE: u64 = 1;

/// `r0 = 0; exit`
static PROGRAM: [u64; 2] = [0xb7, 0x95];

/// The beginning of `union bpf_attr`, for attaching to a raw tracepoint.
#[repr(C)]
#[derive(Default)]
struct RawTracepointAttributes {
    name: u64,
    program: u32,
    reserved: [u32; 3],
}

/// The beginning of `struct perf_event_attr`.
#[repr(C)]
#[derive(Default)]
struct PerfAttributes {
    event_type: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint_type: u32,
    /// `kprobe_func`
    function: u64,
    /// `probe_offset`
    offset: u64,
}

fn new_fd(ret: i64) -> io::Result<OwnedFd> {
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(ret as RawFd) })
}

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
        let name = CString::new(name)?;
        let mut attributes = RawTracepointAttributes {
            name: name.as_ptr() as u64,
            program: program.as_raw_fd() as u32,
            ..RawTracepointAttributes::default()
        };
        let link = bpf::descriptor(BPF_RAW_TRACEPOINT_OPEN, &mut attributes)
            .context("BPF_RAW_TRACEPOINT_OPEN")?;
        Ok(EmptyProgram { program, _link: link })
    }

    fn kprobe(function: &str, config: u64) -> Result<EmptyProgram> {
        let program = bpf::load(BPF_PROG_TYPE_KPROBE, &PROGRAM)?;
        let event_type = fs::read_to_string("/sys/bus/event_source/devices/kprobe/type")?;
        let function = CString::new(function)?;
        let attributes = PerfAttributes {
            event_type: event_type.trim().parse()?,
            size: size_of::<PerfAttributes>() as u32,
            config,
            function: function.as_ptr() as u64,
            ..PerfAttributes::default()
        };
        // SAFETY: attributes and name takeover the call.
        let event = new_fd(unsafe {
            libc::syscall(libc::SYS_perf_event_open, &raw const attributes, -1, 0, -1, 0)
        });
        let event = event.context("perf_event_open")?;
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
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.program.as_raw_fd()))?;
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<f64>().ok()).context("fdinfo")
        };
        Ok((field("run_cnt:")?, field("run_time_ns:")? / 1e9))
    }
}
