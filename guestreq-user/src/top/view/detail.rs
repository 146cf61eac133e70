//! # A VM's details

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span, Text},
};

use super::{Theme, psp, text, titled};
use crate::{
    text::{duration, maybe},
    top::model::{Key, Model, Row, Series},
};

mod policy;

/// Draws it; returns the maximum scroll.
pub fn draw(
    frame: &mut Frame,
    area: Rect,
    model: &Model,
    of: &Key,
    scroll: usize,
    theme: Theme,
) -> usize {
    let Some(row) = model.detailed(of) else {
        let inside = titled(frame, area, "VM", theme);
        let gone = " This VM has exited and has no record any more. Esc: back.";
        frame.render_widget(Line::styled(gone, theme.label()), inside);
        return 0;
    };
    let inside = titled(frame, area, format!("VM {}", text::clean(&row.vm.vm)), theme);
    let high = u16::from(inside.height > 6) + u16::from(inside.height > 10);
    let [line, body] =
        Layout::vertical([Constraint::Length(high), Constraint::Fill(1)]).areas(inside);
    let none = Series::default();
    let series = model.history.vm(of).unwrap_or(&none);
    let label = format!("req/s {:>5}", text::rate(row.vm.recent_requests_per_second));
    psp::series(frame, line, &[label], series, None, theme.rate(), theme);
    let lines = lines(&row, usize::from(body.width), theme);
    let height = usize::from(body.height);
    let most = lines.len().saturating_sub(height);
    let shown = lines.into_iter().skip(scroll.min(most)).take(height);
    frame.render_widget(Text::from_iter(shown), body);
    most
}

/// Labels and values, truncated to the line.
struct Lines {
    lines: Vec<Line<'static>>,
    cells: usize,
    theme: Theme,
}

const LABEL: usize = 15;

impl Lines {
    fn add(&mut self, label: &str, value: &str) {
        let label = format!(" {label:<width$}", width = LABEL - 1);
        let value = text::fit(value, self.cells.saturating_sub(LABEL));
        let label = Span::styled(text::fit(&label, self.cells), self.theme.label());
        self.lines.push(Line::from(vec![label, Span::raw(value)]));
    }

    fn heading(&mut self, text: &str) {
        let text = text::fit(&format!(" {text}"), self.cells);
        self.lines.push(Line::styled(text, self.theme.heading()));
    }

    fn row(&mut self, text: &str) {
        self.lines.push(Line::raw(text::fit(&format!(" {text}"), self.cells)));
    }
}

fn lines(row: &Row, cells: usize, theme: Theme) -> Vec<Line<'static>> {
    let mut lines = Lines { lines: Vec::new(), cells, theme };
    identity(row, &mut lines);
    time(row, &mut lines);
    policy::policy(row, &mut lines);
    messages(row, &mut lines);
    lines.lines
}

fn identity(row: &Row, lines: &mut Lines) {
    let vm = row.vm;
    let state = if vm.running { "running" } else { "exited" };
    let last = match vm.last_request_seconds_ago {
        Some(ago) => format!("last request {} ago", duration(ago)),
        None => "no request yet".to_owned(),
    };
    let uuid = if vm.uuid.is_empty() { String::new() } else { format!(", uuid {}", vm.uuid) };
    lines.add("process", &format!("{} pid {}, {state}, {last}{uuid}", vm.vmm, vm.pid));
    if vm.name != vm.vm {
        lines.add("name", &vm.name);
    }
    let of = |what: &str, value: &str| match value {
        "" => String::new(),
        value => format!("{what} {value}"),
    };
    let pod = [of("namespace", &vm.namespace), of("uid", &vm.pod_uid)];
    let pod: Vec<String> = pod.into_iter().filter(|part| !part.is_empty()).collect();
    if !pod.is_empty() {
        lines.add("pod", &pod.join(", "));
    }
}

/// Durations, and the PSP's time.
fn time(row: &Row, lines: &mut Lines) {
    let vm = row.vm;
    let classes: Vec<String> =
        vm.psp_seconds.iter().map(|(class, s)| format!("{class} {}", duration(*s))).collect();
    let share = text::percent(vm.recent_psp_share);
    lines.add("PSP", &format!("{share} now; since start: {}", classes.join(", ")));
    let [p50, p99] = [vm.recent_p50_seconds, vm.recent_p99_seconds].map(maybe);
    let [all50, all99] = [vm.p50_seconds, vm.p99_seconds].map(maybe);
    lines.add(
        "duration",
        &format!("p50 {p50}, p99 {p99} now; since start: p50 {all50}, p99 {all99}"),
    );
    let stages = ["vm_lock", "psp_queue", "psp_service"];
    let stages: Vec<String> =
        stages.map(|stage| format!("{stage} {}", maybe(vm.mean_stage_seconds(stage)))).into();
    lines.add("mean by stage", &stages.join(", "));
}

/// Requests by message type, VMPCKs and anomalies.
fn messages(row: &Row, lines: &mut Lines) {
    let vm = row.vm;
    lines.heading(&format!("{:<18}{:>6}{:>9}  RESULTS", "MESSAGE", "REQ/S", "REQUESTS"));
    for (message, results) in &vm.results {
        let rate = vm.recent_messages_per_second.get(message).copied().unwrap_or(0.0);
        let sum: u64 = results.values().sum();
        let results: Vec<String> =
            results.iter().map(|(result, count)| format!("{result} {count}")).collect();
        let (rate, results) = (text::rate(rate), results.join(", "));
        lines.row(&format!("{message:<18}{rate:>6}{sum:>9}  {results}"));
    }
    if vm.results.is_empty() {
        lines.row("none yet");
    }
    let extended = vm.extended_requests;
    lines.add("extended", &format!("{extended} of {} requests with certificates", vm.requests));
    if vm.tio_requests > 0 {
        lines.add("SEV-TIO", &format!("{}, from its VMM: no policy decides them", vm.tio_requests));
    }
    let vmpcks = vm.vmpck.iter().enumerate().map(|(i, count)| match i {
        4 => format!("invalid: {count}"),
        i => format!("{i}: {count}"),
    });
    lines.add("VMPCK", &vmpcks.collect::<Vec<_>>().join(", "));
    if !vm.lost_vmpcks.is_empty() {
        lines.add("lost VMPCKs", &format!("{} (inferred)", vm.lost()));
    }
    if let Some(age) = vm.oldest_refused_seconds {
        lines.add("waits", &format!("a message has got BUSY for {}", duration(age)));
    }
    let anomalies: Vec<String> = vm
        .sequence_anomalies
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    let anomalies =
        if anomalies.is_empty() { "no anomalies".to_owned() } else { anomalies.join(", ") };
    lines.add("sequence", &anomalies);
}
