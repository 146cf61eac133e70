//! # The configured order, on the gate
//!
//! Set once for each load of the gate and each change of the configuration, and not again: an
//! operator who writes the gate's parameter at run time is not overruled.

use std::time::Instant;

use log::{info, warn};

use crate::{
    bpf::programs::module_identity,
    config::OrderSwitch,
    enforce::gate::{MODULE, order},
    host::system::{self, System},
    throttle::{ReportThrottle, without_numbers},
    wire::policy::Name as _,
};

pub struct ConfiguredOrder {
    wanted: Option<OrderSwitch>,
    /// The load of the gate on which it was set.
    set_on: Option<u64>,
    failure: ReportThrottle<Option<String>>,
}

impl ConfiguredOrder {
    /// `None` leaves the gate's parameter as it is.
    pub fn new(wanted: Option<OrderSwitch>) -> ConfiguredOrder {
        ConfiguredOrder { wanted, set_on: None, failure: ReportThrottle::default() }
    }

    /// Takes another configuration. Returns whether that differs.
    pub fn replace(&mut self, wanted: Option<OrderSwitch>) -> bool {
        let differs = self.wanted != wanted;
        if differs {
            *self = ConfiguredOrder::new(wanted);
        }
        differs
    }

    /// Sets it, unless that was done.
    pub fn apply(&mut self) {
        self.apply_to(system::host(), module_identity(MODULE));
    }

    fn apply_to(&mut self, system: &System, gate: Option<u64>) {
        let Some(wanted) = self.wanted.filter(|_| gate.is_some() && self.set_on != gate) else {
            return;
        };
        let name = wanted.name();
        let failure = match order::switch(system, wanted == OrderSwitch::On) {
            // A gate without an order, or its parameters are not there yet.
            Ok(None) => None,
            Ok(Some(changed)) => {
                self.set_on = gate;
                if changed {
                    info!("set the gate's order to {name}, as configured");
                }
                None
            }
            Err(error) => Some(format!("{error:#}")),
        };
        if self.failure.is_due(failure.as_deref().map(without_numbers), Instant::now())
            && let Some(failure) = failure
        {
            warn!("cannot set the gate's order to {name}, as configured: {failure}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::enforce::gate::PARAMETERS;

    /// A gate with one slot, and a function that reads how many it has, or sets that.
    fn gate() -> (tempfile::TempDir, System, impl Fn(Option<&str>) -> String) {
        let root = tempfile::tempdir().unwrap();
        let system = System::at(root.path());
        fs::create_dir_all(system.path(PARAMETERS)).unwrap();
        let depth = system.path(&format!("{PARAMETERS}/depth"));
        fs::write(&depth, "1\n").unwrap();
        let access = move |text: Option<&str>| {
            if let Some(text) = text {
                fs::write(&depth, text).unwrap();
            }
            fs::read_to_string(&depth).unwrap().trim().to_owned()
        };
        (root, system, access)
    }

    #[test]
    fn the_configured_setting_is_applied_once_per_load_and_change() {
        let (_root, system, depth) = gate();
        let mut order = ConfiguredOrder::new(Some(OrderSwitch::Off));
        order.apply_to(&system, None);
        assert_eq!(depth(None), "1", "no gate is loaded");
        order.apply_to(&system, Some(7));
        assert_eq!(depth(None), "0");
        depth(Some("1\n"));
        order.apply_to(&system, Some(7));
        assert_eq!(depth(None), "1", "the operator wants it now");
        order.apply_to(&system, Some(8));
        assert_eq!(depth(None), "0", "the gate was loaded again");
        assert!(!order.replace(Some(OrderSwitch::Off)) && order.replace(Some(OrderSwitch::On)));
        order.apply_to(&system, Some(8));
        assert_eq!(depth(None), "1");
    }

    #[test]
    fn without_the_key_and_for_more_slots_nothing_changes() {
        let (_root, system, depth) = gate();
        depth(Some("0\n"));
        ConfiguredOrder::new(None).apply_to(&system, Some(7));
        assert_eq!(depth(None), "0");
        depth(Some("4\n"));
        ConfiguredOrder::new(Some(OrderSwitch::On)).apply_to(&system, Some(7));
        assert_eq!(depth(None), "4", "it is on");
    }

    #[test]
    fn a_failure_is_retried() {
        let (_root, system, depth) = gate();
        depth(Some("no number"));
        let mut order = ConfiguredOrder::new(Some(OrderSwitch::Off));
        order.apply_to(&system, Some(7));
        depth(Some("1\n"));
        order.apply_to(&system, Some(7));
        assert_eq!(depth(None), "0");
    }

    #[test]
    fn an_order_that_comes_later_than_its_module_is_set() {
        let (_root, system, depth) = gate();
        let mut order = ConfiguredOrder::new(Some(OrderSwitch::Off));
        fs::remove_file(system.path(&format!("{PARAMETERS}/depth"))).unwrap();
        order.apply_to(&system, Some(7));
        depth(Some("1\n"));
        order.apply_to(&system, Some(7));
        assert_eq!(depth(None), "0");
    }
}
