//! # Asking many nodes
//!
//! A bounded number at a time. Whatever becomes of one node, the others' answers are shown.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{
    UNANSWERED,
    args::Args,
    failure::{self, Failure},
    find::Nodes,
    pods::Pod,
    process::Kubectl,
    views::{Command, Rows, View},
};
use crate::{
    cli::{
        table::{self, name},
        write,
    },
    json,
    text::printable,
};

/// Bytes of all answers that are kept for `-o json`.
const MOST_KEPT: usize = 1 << 30;

/// By node: its answer, or why there is none.
pub type Answers<T> = BTreeMap<String, Result<T, String>>;

/// Asks nodes and prints their answers; of these only what concerns `vm`, if it is given.
pub async fn show(
    kubectl: &Kubectl,
    args: &Args,
    view: &'static View,
    command: &Command,
    nodes: Nodes,
    vm: Option<&str>,
) -> Result<ExitCode> {
    let only = |mut answer: Value| {
        if let Some(vm) = vm {
            view.keep_vm(&mut answer, vm);
        }
        answer
    };
    if command.json {
        let mut kept = 0;
        let keep = |answer| {
            let line = json::line(&only(answer))?;
            kept += line.len();
            if kept > MOST_KEPT {
                bail!("its answer is left out: all together exceed {} MiB", MOST_KEPT >> 20);
            }
            Ok(line)
        };
        let answers = each_node(kubectl, args.parallel(), nodes, &command.words, keep).await?;
        write(as_json(&answers)?.as_bytes())?;
        Ok(report(&answers))
    } else {
        let rows = |answer| view.rows(&only(answer));
        let answers = each_node(kubectl, args.parallel(), nodes, &command.words, rows).await?;
        write(as_table(view, &answers).as_bytes())?;
        Ok(report(&answers))
    }
}

/// The answers of all nodes, of those without a pod as well.
pub async fn each_node<T>(
    kubectl: &Kubectl,
    parallel: usize,
    nodes: Nodes,
    words: &[String],
    with: impl FnMut(Value) -> Result<T>,
) -> Result<Answers<T>> {
    if let Some(remark) = nodes.remark {
        failure::say(&remark);
    }
    let mut answers = each(kubectl, parallel, nodes.pods, words, with).await?;
    for node in nodes.without {
        answers.insert(node, Err("it has no pod of the agent".to_owned()));
    }
    Ok(answers)
}

async fn each<T>(
    kubectl: &Kubectl,
    parallel: usize,
    pods: BTreeMap<String, Pod>,
    words: &[String],
    mut with: impl FnMut(Value) -> Result<T>,
) -> Result<Answers<T>> {
    let shared = Arc::new((kubectl.clone(), words.to_vec()));
    let mut progress = Progress::new(pods.len());
    let (mut waiting, mut asked) = (pods.into_values(), JoinSet::new());
    let (mut answers, mut answered) = (BTreeMap::new(), 0);
    // What is true of all nodes, unless one has answered. Until then no more are asked.
    let mut of_all: Option<Failure> = None;
    loop {
        while asked.len() < parallel
            && (of_all.is_none() || answered > 0)
            && let Some(pod) = waiting.next()
        {
            let shared = Arc::clone(&shared);
            asked.spawn(async move {
                let answer = ask(&shared.0, &pod, &shared.1).await;
                (pod, answer)
            });
        }
        let Some(done) = asked.join_next().await else { break };
        let (pod, answer) = done?;
        let answer = match answer {
            Ok(Err(failure)) => {
                let why = failure.of_node(&pod.name);
                if failure.is_of_all() {
                    of_all = Some(failure);
                }
                Err(why)
            }
            Ok(Ok(answer)) => {
                answered += 1;
                with(answer).map_err(|error| format!("{error:#}"))
            }
            Err(why) => Err(why),
        };
        answers.insert(pod.node, answer);
        progress.show(answers.len());
    }
    progress.end();
    match of_all {
        Some(failure) if answered == 0 => Err(failure.into()),
        _ => Ok(answers),
    }
}

/// A pod's answer. The outer error is of a pod that was not asked.
async fn ask(
    kubectl: &Kubectl,
    pod: &Pod,
    words: &[String],
) -> Result<Result<Value, Failure>, String> {
    if let Some(why) = &pod.unusable {
        return Err(why.clone());
    }
    let output = match kubectl.ask(&pod.name, words).await {
        Ok(output) => output,
        Err(failure) => return Ok(Err(failure)),
    };
    // doctor and condition print an answer and exit with 1.
    match serde_json::from_slice(&output.stdout) {
        Ok(answer) => Ok(Ok(answer)),
        Err(_) if !output.status.success() => Ok(Err(output.failure())),
        Err(error) => Err(format!("its answer is no JSON: {error}")),
    }
}

/// One line on standard error for each node without an answer, and the exit status.
fn report<T>(answers: &Answers<T>) -> ExitCode {
    let mut unanswered = 0;
    for (node, answer) in answers {
        if let Err(why) = answer {
            unanswered += 1;
            failure::say(&format!("{node}: {why}"));
        }
    }
    if unanswered == 0 {
        return ExitCode::SUCCESS;
    }
    failure::say(&format!("{unanswered} of {} nodes did not answer", answers.len()));
    ExitCode::from(UNANSWERED)
}

fn as_table(view: &View, answers: &Answers<Rows>) -> String {
    let mut header = vec!["NODE"];
    header.extend(view.header);
    let mut table = table::new(&header, &view.right());
    table::fold(&mut table);
    let (mut remarks, mut any) = (String::new(), false);
    for (node, answer) in answers {
        let Ok(answer) = answer else { continue };
        for row in &answer.rows {
            table
                .add_row(std::iter::once(name(node)).chain(row.iter().map(|cell| printable(cell))));
            any = true;
        }
        for remark in &answer.remarks {
            remarks.push_str(&format!("{}: {}\n", name(node), printable(remark)));
        }
    }
    match answers.values().filter(|answer| answer.is_ok()).count() {
        0 => String::new(),
        1 if !any => format!("Nothing to show of 1 node.\n{remarks}"),
        count if !any => format!("Nothing to show of {count} nodes.\n{remarks}"),
        _ if remarks.is_empty() => table::text(&table),
        _ => format!("{}\n{remarks}", table::text(&table)),
    }
}

/// Without an answer.
#[derive(Serialize)]
struct Unanswered<'a> {
    node: &'a str,
    reason: &'a str,
}

/// One line for each node. The answers are JSON already.
fn as_json(answers: &Answers<String>) -> Result<String> {
    let (mut nodes, mut unanswered) = (Vec::new(), Vec::new());
    for (node, answer) in answers {
        match answer {
            Ok(json) => nodes.push(format!("{{\"node\":{},\"answer\":{json}}}", json::line(node)?)),
            Err(reason) => unanswered.push(json::line(&Unanswered { node, reason })?),
        }
    }
    let list = |all: Vec<String>| match all.is_empty() {
        true => "[]".to_owned(),
        false => format!("[\n{}\n]", all.join(",\n")),
    };
    Ok(format!("{{\"nodes\":{},\"unanswered\":{}}}\n", list(nodes), list(unanswered)))
}

/// How many have been asked, on a terminal, if there are many.
struct Progress {
    of: Option<usize>,
}

impl Progress {
    const MANY: usize = 50;

    fn new(of: usize) -> Progress {
        Progress { of: (of >= Progress::MANY && io::stderr().is_terminal()).then_some(of) }
    }

    fn show(&mut self, done: usize) {
        if let Some(of) = self.of {
            eprint!("\r{done} of {of} nodes");
        }
    }

    fn end(&self) {
        if self.of.is_some() {
            eprint!("\r\u{1b}[K");
        }
    }
}

#[cfg(test)]
mod tests;
