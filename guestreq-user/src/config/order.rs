//! # Key `order`
//!
//! The gate's order is on by default. Without this key the agent does not touch it.

use crate::wire::policy::Name;

/// What to set the gate's order to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderSwitch {
    On,
    Off,
}

impl Name for OrderSwitch {
    const WHAT: &'static str = "setting of the order";
    const ALL: &'static [OrderSwitch] = &[OrderSwitch::On, OrderSwitch::Off];
    fn name(self) -> &'static str {
        match self {
            OrderSwitch::On => "on",
            OrderSwitch::Off => "off",
        }
    }
}
