//! # Events as table rows

use std::io;

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

use crate::{
    text::printable,
    wire::events::{EnforcementChanged, Event, EventData, Kind},
};

/// Width of the longest kind's name.
const KIND: usize = 15;
/// Longer names shift the next column.
const WIDEST_VM: usize = 32;

pub struct Lines {
    /// Width of the widest name so far.
    vm: usize,
    colours: bool,
}

impl Default for Lines {
    /// Coloured on a terminal only, unless NO_COLOR is set.
    fn default() -> Lines {
        let colours = anstream::AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        Lines { vm: 8, colours }
    }
}

impl Lines {
    /// For a file.
    pub fn plain() -> Lines {
        Lines { vm: 8, colours: false }
    }

    pub fn line(&mut self, event: &Event) -> String {
        let vm = match &event.vm {
            Some(event_vm) => printable(&event_vm.label_or_pid()),
            None => "-".to_owned(),
        };
        self.vm = self.vm.max(vm.width().min(WIDEST_VM));
        let blanks = " ".repeat(self.vm.saturating_sub(vm.width()));
        let style = if self.colours { style(event) } else { Style::new() };
        let (kind, details) = (event.kind(), printable(&event.details()));
        format!("{}  {style}{kind:<KIND$}{style:#}  {vm}{blanks}  {details}", event.time)
    }
}

/// Red: refusals, anomalies, losses; yellow: slow, throttled, or a launch that did not finish.
fn style(event: &Event) -> Style {
    let colour = match event.kind() {
        Kind::Denied
        | Kind::VmpckLost
        | Kind::Bypassed
        | Kind::HostError
        | Kind::Replay
        | Kind::Gap
        | Kind::Lost
        | Kind::Overdue
        | Kind::ConfigFailed => AnsiColor::Red,
        Kind::Enforcement if !is_verified(event) => AnsiColor::Red,
        Kind::Launched if !is_finished(event) => AnsiColor::Yellow,
        Kind::Slow | Kind::Throttled | Kind::Rescued => AnsiColor::Yellow,
        Kind::PolicyChanged | Kind::ConfigReloaded => AnsiColor::Cyan,
        Kind::Enforcement | Kind::Unthrottled => AnsiColor::Green,
        Kind::Request | Kind::NewVm | Kind::ExitedVm | Kind::Launched | Kind::AgentStarted => {
            return Style::new();
        }
    };
    colour.on_default()
}

fn is_verified(event: &Event) -> bool {
    matches!(&event.what, EventData::Enforcement(EnforcementChanged { verified: true, .. }))
}

fn is_finished(event: &Event) -> bool {
    matches!(&event.what, EventData::Launched(launched) if launched.is_finished())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::events::{
        EventVm,
        tests::{event, event_vm, example, examples},
    };

    fn named(label: &str) -> Option<EventVm> {
        Some(EventVm { vm: Some(label.to_owned()), ..event_vm("x") })
    }

    #[test]
    fn columns_align_and_names_are_escaped() {
        let mut lines = Lines { vm: 8, colours: false };
        let mut line = |vm, kind| lines.line(&event(1, vm, example(kind)));
        assert_eq!(
            line(named("web-1"), Kind::Denied),
            "2026-01-31T12:00:00.500Z  denied           web-1     report (type 5), VMPCK 1, \
             sequence number 9"
        );
        let hostile = line(named("a\n\x1b[2J\"\u{202e}b\u{5b57}"), Kind::Denied);
        assert!(hostile.contains("  a\\n\\u{1b}[2J\"\\u{202e}b\u{5b57}  report"), "{hostile}");
        let (lost, expected) = (line(None, Kind::Lost), "  lost             -  ");
        assert!(lost.contains(expected) && lost.contains("  3 events"), "{lost}");
        let wide = line(named(&"x".repeat(128)), Kind::Denied);
        assert!(wide.contains("xxx  report"), "{wide}");
        assert!(
            line(named("web"), Kind::Denied).contains(&format!("  web{}  report", " ".repeat(29)))
        );
    }

    #[test]
    fn colours_are_used_only_if_enabled() {
        let mut lines = Lines { vm: 8, colours: true };
        assert!(lines.line(&event(1, None, example(Kind::Denied))).contains("\x1b[31mdenied"));
        lines.colours = false;
        assert!(!lines.line(&event(1, None, example(Kind::Denied))).contains('\x1b'));
    }

    #[test]
    fn every_kind_s_name_fits_its_column() {
        let names = examples().iter().map(|what| what.kind().name().len()).max();
        assert_eq!(names, Some(KIND));
    }
}
