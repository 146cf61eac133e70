use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn table(vms: &[(&str, bool)]) -> VmTable {
    let vms = vms.iter().enumerate().map(|(slot, (label, exited))| TrackedVm {
        id: VmRef::new(slot, 0),
        tgid: slot as u32 + 1,
        exited: *exited,
        ..TrackedVm::of(label, Identity::default())
    });
    VmTable { vms: vms.collect(), ..VmTable::default() }
}

fn named(name: &str) -> Identity {
    Identity { name: name.to_owned(), named: true, ..Identity::default() }
}

#[test]
fn two_running_vms_of_one_name_have_two_labels() {
    let mut table = table(&[("web", false)]);
    assert_eq!(table.unique_label(&named("web"), 77), "web@77");
    assert_eq!(table.unique_label(&named("db"), 78), "db");
}

#[test]
fn a_process_with_several_vms_has_a_label_for_each() {
    let mut table = table(&[("web", false), ("web@77", false), ("qemu-9", false)]);
    assert_eq!(table.unique_label(&named("web"), 77), "web@77.2");
    let unnamed = Identity { name: "qemu".to_owned(), ..Identity::default() };
    assert_eq!(table.unique_label(&unnamed, 9), "qemu-9.2");
}

/// Row 8 of the second review.
#[test]
fn an_exited_vm_s_new_label_is_unique() {
    let mut table = table(&[("web", true), ("web@1", false)]);
    assert_eq!(table.unique_label(&named("web"), 77), "web");
    assert_eq!(table.vms[0].label, "web@1.2");
}

proptest! {
    /// Whatever VMs are called, and however they come and go: Prometheus drops one of two series
    /// with the same labels, in which a VM could hide what it was denied.
    /// Row 8 of the second review.
    #[test]
    fn no_two_vms_have_the_same_label(
        vms in proptest::collection::vec(
            (0usize..ADVERSARIAL.len(), any::<bool>(), 1u32..4, any::<bool>()), 1..40,
        ),
    ) {
        let mut table = VmTable::default();
        for (slot, (name, is_named, tgid, exits)) in vms.into_iter().enumerate() {
            let identity = Identity { named: is_named, ..named(ADVERSARIAL[name]) };
            let label = table.unique_label(&identity, tgid);
            let id = VmRef::new(slot, 0);
            table.vms.push(TrackedVm { id, tgid, exited: exits, ..TrackedVm::of(&label, identity) });
            let labels: BTreeSet<&str> = table.vms.iter().map(|vm| vm.label.as_str()).collect();
            prop_assert_eq!(labels.len(), table.vms.len(), "{:?}", labels);
        }
    }
}

/// Names that look like what is made of others'.
const ADVERSARIAL: [&str; 9] =
    ["web", "web@1", "web@1.2", "web@2", "web-1", "web-1.2", "web@1@1", "web-1@1", "a\nb"];

#[test]
fn the_last_exit_of_a_process_is_kept_longest() {
    let end = |at, slot, tgid| Exit { at, slot, process: (tgid, Some(1)) };
    let exits = [end(1, 0, 7), end(2, 1, 7), end(3, 2, 8), end(4, 3, 7)];
    let minute = SCRAPED_NS + 3;
    assert_eq!(due(&exits, 0, u64::MAX, 10), [0; 0], "each can be scraped");
    assert_eq!(due(&exits, 0, u64::MAX, minute), [0, 1]);
    assert_eq!(due(&exits, 0, minute - 4, minute), [0, 1, 2], "kept long enough");
    assert_eq!(due(&exits, 3, u64::MAX, 10), [0, 1, 2], "slots are scarce");
    let other = [end(1, 0, 7), Exit { process: (7, Some(2)), ..end(2, 1, 7) }];
    assert_eq!(due(&other, 0, u64::MAX, minute), [0; 0], "another process of that number");
}

#[test]
fn names_with_the_same_label_get_two_labels() {
    let mut table = table(&[("a_b", false)]);
    assert_eq!(table.unique_label(&named("a\nb"), 77), "a_b@77");
    assert_eq!(table.unique_label(&named(&"x".repeat(4096)), 78), "x".repeat(128));
}

#[test]
fn a_vm_that_restarts_keeps_its_label() {
    let mut table = table(&[("web", true)]);
    assert_eq!(table.unique_label(&named("web"), 77), "web");
    assert_eq!(table.vms[0].label, "web@1");
}

#[test]
fn vms_of_one_name_in_two_namespaces_have_two_labels() {
    let mut table = table(&[("prod/web", false)]);
    let in_dev = Identity { namespace: "dev".to_owned(), ..named("web") };
    assert_eq!(table.unique_label(&in_dev, 77), "dev/web");
}

#[test]
fn a_process_without_a_vm_s_name_shows_its_pid() {
    let mut table = VmTable::default();
    let identity = Identity { name: "snpload".to_owned(), ..Identity::default() };
    assert_eq!(table.unique_label(&identity, 9), "snpload-9");
}
