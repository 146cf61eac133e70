//! # kubectl guestreq
//!
//! A plugin of kubectl: finds the agent's pod on a node, or on that of a VM, and runs the agent's own
//! command line there; or asks all nodes and merges their tables. It runs the user's own kubectl, so
//! that clusters, users and permissions are those of any other kubectl command.

mod args;
mod ask;
mod failure;
mod find;
mod passed;
mod pods;
mod process;
mod verb;
mod views;
mod vm;

use std::process::ExitCode;

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use args::{Args, Selection};
use find::Nodes;
use process::Kubectl;
use verb::Verb;
use views::View;

/// Some nodes did not answer.
const UNANSWERED: u8 = 3;

/// Runs the plugin.
pub fn run() -> ExitCode {
    let done = Args::parse().and_then(|args| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(until_interrupted(execute(args)))
    });
    done.unwrap_or_else(|error| {
        failure::say(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// Dropping the work kills each kubectl that it has started.
async fn until_interrupted(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let number = tokio::select! {
        done = work => return done,
        _ = interrupt.recv() => libc::SIGINT,
        _ = terminate.recv() => libc::SIGTERM,
        _ = hangup.recv() => libc::SIGHUP,
    };
    Ok(ExitCode::from(128 + u8::try_from(number)?))
}

async fn execute(args: Args) -> Result<ExitCode> {
    let verb = Verb::of(&args.command);
    let kubectl = args.kubectl();
    match &args.selection()? {
        Selection::AllNodes => {
            let view = View::of(&verb)?;
            let command = view.command(&args.command)?;
            let nodes = find::all(&kubectl).await?;
            ask::show(&kubectl, &args, view, &command, nodes, None).await
        }
        Selection::Node(node) => {
            let pod = find::on_node(&kubectl, node).await?;
            passed::through(&kubectl, &pod, &args.command)
        }
        Selection::OnlyNode => {
            let pod = find::only(&kubectl).await?;
            passed::through(&kubectl, &pod, &args.command)
        }
        Selection::Vm(wanted) => on_vm(&kubectl, &args, &verb, wanted).await,
    }
}

/// Runs a command on the node of a VM, for the VM if it takes one.
async fn on_vm(kubectl: &Kubectl, args: &Args, verb: &Verb, wanted: &str) -> Result<ExitCode> {
    if !verb.is_known() {
        bail!("{verb} is not known, so neither is whether it takes a VM: use --node");
    }
    let with_vm = |vm: &str| {
        let option = verb.takes("vm").then(|| format!("--vm={vm}"));
        args.command.iter().cloned().chain(option).collect::<Vec<_>>()
    };
    // Before many nodes are asked for the VM.
    verb::check(&with_vm(wanted)).unwrap_or_else(|error| error.exit());
    let found = vm::find(kubectl, args, wanted).await?;
    match View::with_vms(verb) {
        Some(view) => {
            let command = view.command(&args.command)?;
            let nodes = Nodes::only(found.pod);
            ask::show(kubectl, args, view, &command, nodes, Some(&found.label)).await
        }
        None => passed::through(kubectl, &found.pod, &with_vm(&found.label)),
    }
}

#[cfg(test)]
mod tests;
