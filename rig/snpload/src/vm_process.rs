//! # VMs in their own processes
//!
//! The parent starts a child for each VM and talks to it over standard input and output: the child
//! writes `ready`, may wait for `go`, writes its report as a line of JSON, and holds its VM until
//! its input ends.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::attack::{Technique, cue::Cue, leader};
use crate::cli::{Behavior, Options};
use crate::guest::Guests;
use crate::report::Report;
use crate::signals;
use crate::vmm_identity::{VmmIdentity, program};

const ENVIRONMENT: &str = "SNPLOAD_OPTIONS";

#[derive(Serialize, Deserialize)]
struct ChildOptions {
    options: Options,
    name: String,
}

struct VmProcess {
    name: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl VmProcess {
    fn start(options: &Options, i: u32) -> Result<Self> {
        let identity = VmmIdentity::new(options, i);
        let own = ChildOptions { options: options.clone(), name: identity.name.clone() };
        let mut child = identity
            .command(options)
            .env(ENVIRONMENT, serde_json::to_string(&own)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a VM's process")?;
        let input = child.stdin.take().context("no standard input of the child")?;
        let output = child.stdout.take().context("no standard output of the child")?;
        let VmmIdentity { name, uuid } = identity;
        eprintln!("snpload: {name}: pid {}, uuid {uuid}", child.id());
        Ok(Self { name, child, input, output: BufReader::new(output) })
    }

    /// The child's next line, or None if it was killed.
    fn read_line(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? > 0 {
            return Ok(Some(line));
        }
        let status = self.child.wait()?;
        if status.signal().is_none() {
            bail!("{} gave up ({status})", self.name);
        }
        Ok(None)
    }

    fn report(&mut self) -> Result<Report> {
        match self.read_line()? {
            Some(line) => serde_json::from_str(&line).context("a child's report"),
            None => Ok(Report { vms: 1, died: 1, ..Report::default() }),
        }
    }
}

/// The parent's part.
pub fn run(options: &Options) -> Result<()> {
    let mut vms = Vec::new();
    for i in 0..options.vms {
        vms.push(VmProcess::start(options, i)?);
    }
    forward_stop(vms.iter().map(|vm| vm.child.id()).collect());
    for vm in &mut vms {
        vm.read_line()?;
    }
    if options.start_together {
        for vm in &mut vms {
            // a child that died shows when it should report
            let _ = vm.input.write_all(b"go\n");
        }
    }
    let mut total = Report::default();
    for vm in &mut vms {
        total.add(vm.report()?);
    }
    print_report(&total)?;
    if options.hold {
        signals::hold();
    }
    for VmProcess { mut child, input, .. } in vms {
        drop(input);
        child.wait()?;
    }
    Ok(())
}

/// Forwards a stop to the children.
fn forward_stop(pids: Vec<u32>) {
    std::thread::spawn(move || {
        while !signals::stopping() {
            std::thread::sleep(Duration::from_millis(50));
        }
        for pid in pids {
            // SAFETY: kill() takes no memory of ours. At worst the child is gone,
            // and not waited for yet, so that its pid is no one else's.
            unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) };
        }
    });
}

pub fn print_report(report: &Report) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{}", serde_json::to_string(report)?)?;
    Ok(out.flush()?)
}

/// The child's part, if this process is one.
pub fn run_as_child() -> Option<Result<()>> {
    let child = std::env::var(ENVIRONMENT).ok()?;
    Some(serde_json::from_str(&child).context("the parent's options").and_then(run_child))
}

/// Runs the VMs, if need be without the main thread.
fn run_child(child: ChildOptions) -> Result<()> {
    let Behavior { attack, cue, .. } = &child.options.behavior;
    if *attack != Some(Technique::LeaderExits) {
        return run_vms(&child);
    }
    let cue = Cue::new(cue.as_ref());
    leader::leave(&cue, move || match run_vms(&child) {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("snpload: {e:#}");
            1
        }
    })
}

/// A process has one name and may have several VMs.
fn names(options: &Options, name: &str) -> Vec<String> {
    match options.contexts {
        1 => vec![name.to_owned()],
        n => (0..n).map(|i| format!("{name}/{i}")).collect(),
    }
}

fn run_vms(child: &ChildOptions) -> Result<()> {
    let ChildOptions { options, name } = child;
    name_process(options);
    signals::set_up(options.vmm)?;
    let guests = Guests::new(options, names(options, name)).with_context(|| name.clone())?;
    writeln!(stdout(), "ready")?;
    if options.start_together {
        stdin().read_line(&mut String::new())?;
    }
    if let Some(ms) = options.die_after {
        signals::die_after(ms);
    }
    let (report, _kept) = guests.run_lives(options).with_context(|| name.clone())?;
    print_report(&report)?;
    if options.hold {
        signals::hold();
    }
    Ok(())
}

/// Names the process after the VMM, also if it was not started through a link, and lets it die with
/// its parent.
fn name_process(options: &Options) {
    let name = program(options.vmm).and_then(|path| path.rsplit('/').next());
    let name = name.and_then(|name| std::ffi::CString::new(name).ok());
    // SAFETY: the name is a string that ends, and outlives the call, which copies it.
    unsafe {
        if let Some(name) = &name {
            libc::prctl(libc::PR_SET_NAME, name.as_ptr());
        }
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}
