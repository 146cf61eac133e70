use super::*;

fn table(vms: &[(&str, bool)]) -> Table {
    let vms = vms.iter().enumerate().map(|(slot, (label, exited))| Tracked {
        slot,
        tgid: slot as u32 + 1,
        exited: *exited,
        ..Tracked::of(label, Identity::default())
    });
    Table { vms: vms.collect(), ..Table::default() }
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
fn names_that_make_the_same_label_have_two() {
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
fn two_namespaces_vms_of_one_name_have_labels_of_their_own() {
    let mut table = table(&[("prod/web", false)]);
    let in_dev = Identity { namespace: "dev".to_owned(), ..named("web") };
    assert_eq!(table.unique_label(&in_dev, 77), "dev/web");
}

#[test]
fn a_process_without_a_vm_s_name_shows_its_pid() {
    let mut table = Table::default();
    let identity = Identity { name: "snpload".to_owned(), ..Identity::default() };
    assert_eq!(table.unique_label(&identity, 9), "snpload-9");
}
