//! # An agent's answer, for tests
//!
//! Also used by tests/top.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Action, Model};
use crate::wire::{Vm, overview::Overview};

pub const INTERVAL: Duration = Duration::from_secs(1);

pub fn overview() -> Overview {
    serde_json::from_str(include_str!("../../tests/top/overview.json")).unwrap()
}

/// The same `seconds` later, with `busy` more seconds of the PSP.
pub fn after(seconds: f64, busy: f64) -> Overview {
    let mut data = overview();
    data.agent.monotonic_seconds += seconds;
    data.psp.busy_seconds += busy;
    data
}

pub fn model() -> Model {
    Model::new(overview(), INTERVAL, Instant::now())
}

pub fn vm<'a>(data: &'a mut Overview, name: &str) -> &'a mut Vm {
    data.vms.vms.iter_mut().find(|vm| vm.vm == name).unwrap()
}

/// Presses keys, some of which are written as symbols.
pub fn press(model: &mut Model, keys: &str) -> Option<Action> {
    keys.chars().fold(None, |_, key| {
        let code = match key {
            '↑' => KeyCode::Up,
            '↓' => KeyCode::Down,
            '⏎' => KeyCode::Enter,
            '⎋' => KeyCode::Esc,
            '⌫' => KeyCode::Backspace,
            '⇟' => KeyCode::PageDown,
            other => KeyCode::Char(other),
        };
        model.press(KeyEvent::from(code), Instant::now())
    })
}

pub fn control(model: &mut Model, key: char) -> Option<Action> {
    model.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL), Instant::now())
}
