//! # guestreq psp

mod order;

use std::process::ExitCode;

use anyhow::Result;

use super::{
    Reading,
    table::{self, name},
};
use crate::{
    text::{duration, maybe, percent},
    wire::Psp,
};

/// Show the PSP's current command, queue, utilisation and latencies, and who waits in the order
#[derive(clap::Args)]
#[command(after_help = "Example: guestreq psp")]
pub struct Args {
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let psp: Psp = self.reading.get("/v1/psp")?;
        self.reading.print(&psp, text)
    }
}

pub fn text(psp: &Psp) -> String {
    let mut text = summary(psp);
    if let Some(order) = psp.order.as_ref().filter(|order| !order.waiters.is_empty()) {
        text.push('\n');
        text.push_str(&order::waiters(order));
    }
    if !psp.commands.is_empty() {
        text.push('\n');
        text.push_str(&commands(psp));
    }
    if !psp.messages.is_empty() {
        text.push('\n');
        text.push_str(&messages(psp));
    }
    text
}

fn summary(psp: &Psp) -> String {
    let mut text = format!(
        "Held by      {}\n\
         Waiting      {} guest requests now, {:.1} on average\n\
         Utilisation  {} over the last {}\n",
        held_by(psp),
        psp.queue_length,
        psp.recent_queue_length,
        percent(psp.recent_utilisation),
        duration(psp.window_seconds),
    );
    text.push_str(&order::summary(psp));
    if let Some(asids) = psp.asids {
        text.push_str(&format!("ASIDs        {asids} in use\n"));
    }
    for (reason, count) in psp.lost.iter().filter(|(_, count)| **count > 0) {
        text.push_str(&format!("Lost         {count} ({reason})\n"));
    }
    for (probe, _) in psp.probes.iter().filter(|(_, attached)| !**attached) {
        text.push_str(&format!("Not attached {probe}\n"));
    }
    text
}

/// `VM web (pid 7), snp_guest_request for 8.40 ms`
pub fn held_by(psp: &Psp) -> String {
    let Some(holder) = &psp.holder else { return "nobody".to_owned() };
    let by = match &holder.vm {
        Some(vm) => format!("VM {}", name(vm)),
        None => "the host".to_owned(),
    };
    let (pid, command, time) = (holder.pid, &holder.command, duration(holder.seconds));
    format!("{by} (pid {pid}), {command} for {time}")
}

fn commands(psp: &Psp) -> String {
    let busy: f64 = psp.commands.iter().map(|command| command.busy_seconds).sum();
    let mut table =
        table::new(&["COMMAND", "COUNT", "FAILED", "MEAN", "BUSY", "SHARE"], &[1, 2, 3, 4, 5]);
    for command in &psp.commands {
        table.add_row([
            command.command.clone(),
            command.count.to_string(),
            command.failed.to_string(),
            duration(command.busy_seconds / command.count as f64),
            duration(command.busy_seconds),
            percent(if busy > 0.0 { command.busy_seconds / busy } else { 0.0 }),
        ]);
    }
    table::text(&table)
}

fn messages(psp: &Psp) -> String {
    let header =
        ["MESSAGE", "REQUESTS", "LOCK P50", "P99", "QUEUE P50", "P99", "SERVICE P50", "P99"];
    let mut table = table::new(&header, &[1, 2, 3, 4, 5, 6, 7]);
    for message in &psp.messages {
        let mut row =
            vec![message.message.clone(), message.results.values().sum::<u64>().to_string()];
        for stage in ["vm_lock", "psp_queue", "psp_service"] {
            let stage = message.stages.get(stage);
            row.push(maybe(stage.and_then(|stage| stage.p50_seconds)));
            row.push(maybe(stage.and_then(|stage| stage.p99_seconds)));
        }
        table.add_row(row);
    }
    table::text(&table)
}
