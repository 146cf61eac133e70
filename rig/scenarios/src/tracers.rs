//! # Tracers of the gate's function
//!
//! Every kind of kernel tracer, on the function that the gate hooks.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::fd::OwnedFd,
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{
    bpf_attach_type::{self, BPF_TRACE_FENTRY, BPF_TRACE_FEXIT},
    bpf_prog_type::BPF_PROG_TYPE_TRACING,
};

use crate::{
    bpf::{self, Statistics, run_count},
    btf, host,
};

const FUNCTION: &str = "sev_issue_cmd_external_user";
const MODULE: &str = "ccp";
const TRACEFS: &str = "/sys/kernel/tracing";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracer {
    /// BPF programs at the function's entry and return.
    Fentry,
    Fexit,
    FunctionGraph,
    Fprobe,
    Kretprobe,
}

pub const ALL: [Tracer; 5] =
    [Tracer::Fentry, Tracer::Fexit, Tracer::FunctionGraph, Tracer::Fprobe, Tracer::Kretprobe];

/// An attached tracer; detached when dropped.
pub struct Tracing {
    tracer: Tracer,
    program: Option<TracingProgram>,
}

struct TracingProgram {
    /// The program and its link.
    attached: [OwnedFd; 2],
    _statistics: Statistics,
}

impl Tracer {
    pub fn attach(self) -> Result<Tracing> {
        // Created first, so that a partial attachment is undone.
        let mut tracing = Tracing { tracer: self, program: None };
        // Clears the trace.
        write("trace", "")?;
        match self {
            Tracer::Fentry => tracing.program = Some(TracingProgram::attach(BPF_TRACE_FENTRY)?),
            Tracer::Fexit => tracing.program = Some(TracingProgram::attach(BPF_TRACE_FEXIT)?),
            Tracer::FunctionGraph => {
                write("set_ftrace_filter", FUNCTION)?;
                write("current_tracer", "function_graph")?;
            }
            Tracer::Fprobe => event("dynamic_events", &format!("f:rig/seen {FUNCTION}%return"))?,
            Tracer::Kretprobe => {
                let module =
                    if host::is_built_in(MODULE) { String::new() } else { format!("{MODULE}:") };
                event("kprobe_events", &format!("r:rig/seen {module}{FUNCTION}"))?
            }
        }
        Ok(tracing)
    }
}

impl Tracing {
    /// The number of calls seen.
    pub fn calls(&self) -> Result<u64> {
        let mark = match self.tracer {
            Tracer::Fentry | Tracer::Fexit => {
                let program = self.program.as_ref().context("no program")?;
                return run_count(&program.attached[0]);
            }
            Tracer::FunctionGraph => FUNCTION,
            Tracer::Fprobe | Tracer::Kretprobe => "seen:",
        };
        let trace = fs::read_to_string(format!("{TRACEFS}/trace")).context("trace")?;
        // After a task has changed its CPU, function_graph also names the function at its return.
        let other = |line: &str| line.starts_with('#') || line.contains('}');
        let lines = trace.lines().filter(|line| !other(line) && line.contains(mark));
        Ok(lines.count() as u64)
    }

    pub fn detach(mut self) -> Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> Result<()> {
        match self.tracer {
            Tracer::Fentry | Tracer::Fexit => self.program = None,
            Tracer::FunctionGraph => {
                write("current_tracer", "nop")?;
                write("set_ftrace_filter", "")?;
            }
            Tracer::Fprobe | Tracer::Kretprobe if has_event() => {
                write("events/rig/seen/enable", "0")?;
                append("dynamic_events", "-:rig/seen")?;
            }
            Tracer::Fprobe | Tracer::Kretprobe => {}
        }
        Ok(())
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        // After detach() there is nothing left to undo.
        let _ = self.undo();
    }
}

fn has_event() -> bool {
    fs::exists(format!("{TRACEFS}/events/rig/seen")).unwrap_or(false)
}

fn event(file: &str, definition: &str) -> Result<()> {
    append(file, definition)?;
    write("events/rig/seen/enable", "1")
}

fn write(file: &str, text: &str) -> Result<()> {
    let path = format!("{TRACEFS}/{file}");
    fs::write(&path, text).with_context(|| format!("{path} = {text:?}"))
}

/// Keeps other events.
fn append(file: &str, text: &str) -> Result<()> {
    let path = format!("{TRACEFS}/{file}");
    let mut opened = OpenOptions::new().append(true).open(&path).context(path.clone())?;
    opened.write_all(text.as_bytes()).with_context(|| format!("{path} += {text:?}"))
}

impl TracingProgram {
    /// An empty program on the function's entry or return, whose runs the kernel counts.
    fn attach(kind: bpf_attach_type) -> Result<TracingProgram> {
        const RETURN_0: [u64; 2] = [0xb7, 0x95];
        let statistics = Statistics::on()?;
        let (btf, number) = match host::is_built_in(MODULE) {
            true => (None, btf::of_kernel(FUNCTION)?),
            false => {
                let (btf, number) = btf::of_module(MODULE, FUNCTION)?;
                (Some(btf), number)
            }
        };
        let program = (BPF_PROG_TYPE_TRACING, kind);
        let attached = bpf::attach(program, &RETURN_0, (btf.as_ref(), number))?;
        Ok(TracingProgram { attached, _statistics: statistics })
    }
}
