use proptest::prelude::*;

use super::*;

/// As gate/order_params.c writes it.
const COUNTS: &str = "waiting 2\nin_flight 1\ngrants 40\noverdue 3\nkilled 5\nwait_ns 600\n\
                      held_ns 70\nlaunch_ns 800\nrequest_ns 9000\n";

/// A host whose gate has these files.
fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
    let root = tempfile::tempdir().unwrap();
    let system = System::at(root.path());
    for (path, text) in files {
        let path = system.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    (root, system)
}

fn with_order(order: &str, depth: &str, share: &str) -> (tempfile::TempDir, System) {
    let path = |name: &str| format!("{PARAMETERS}/{name}");
    host(&[
        (&path("order"), order),
        (&path("depth"), depth),
        (&path("launch_share"), share),
        (&path("protocol"), "1\n"),
    ])
}

#[test]
fn the_gate_s_numbers_are_read() {
    let (_root, system) = with_order(COUNTS, "2\n", "75\n");
    let order = Order::read(&system).unwrap().unwrap();
    let counts = Counts {
        waiting: 2,
        in_flight: 1,
        grants: 40,
        overdue: 3,
        killed: 5,
        wait_ns: 600,
        held_ns: 70,
        launch_ns: 800,
        request_ns: 9000,
    };
    assert_eq!(order, Order { depth: 2, launch_share: 75, counts });
    assert_eq!((order.held_slots(), order.ended()), (1, 45));
}

/// Its source, so that a name changed there does not go unnoticed.
#[test]
fn the_names_are_those_that_the_gate_writes() {
    let source = include_str!("../../../../../gate/order_params.c");
    for name in COUNTS.lines().filter_map(|line| line.split(' ').next()) {
        let written =
            source.contains(&format!("{name} %ll")) || source.contains(&format!("{name} %u"));
        assert!(written, "{name}");
    }
    assert!(source.contains("\"0x%llx %d %u %lld %llu\\n\""), "the list's format");
}

#[test]
fn there_may_be_no_gate_or_one_without_an_order() {
    let (_root, system) = host(&[]);
    assert_eq!(Order::read(&system).unwrap(), None);
    assert_eq!(waiters(&system).unwrap(), []);
    assert_eq!([false, true].map(|on| switch(&system, on).unwrap()), [None, None]);
    let protocol = format!("{PARAMETERS}/protocol");
    let (_root, system) = host(&[(&protocol, "1\n")]);
    assert_eq!(Order::read(&system).unwrap(), None, "a gate of protocol 1");
    assert_eq!(switch(&system, false).unwrap(), None);
    assert!(!system.exists(&format!("{PARAMETERS}/depth")), "nothing is created");
}

#[test]
fn a_slot_is_free_beside_somebody_who_waits_only_during_a_hold() {
    let held = |depth, in_flight, waiting| {
        let counts = Counts { waiting, in_flight, ..Counts::default() };
        Order { depth, launch_share: 75, counts }.held_slots()
    };
    assert_eq!(held(1, 0, 3), 1);
    assert_eq!(held(4, 1, 2), 2);
    assert_eq!(held(1, 1, 3), 0, "they wait for the slot");
    assert_eq!(held(1, 2, 3), 0, "one is overdue");
    assert_eq!(held(1, 0, 0), 0, "nobody waits");
    assert_eq!(held(0, 0, 0), 0, "the order is off");
}

#[test]
fn what_is_not_as_the_gate_writes_it_is_an_error_that_names_it() {
    let replaced = |from: &str, to: &str| COUNTS.replace(from, to);
    for (order, depth, share, why) in [
        (String::new(), "1", "75", "waiting is missing"),
        (replaced("killed 5\n", ""), "1", "75", "killed is missing"),
        (replaced("killed 5", "overdue 5"), "1", "75", "\"overdue\" is there twice"),
        (replaced("killed 5", "killed"), "1", "75", "not a name and a number: \"killed\""),
        (replaced("killed 5", "killed  5"), "1", "75", "\"killed  5\""),
        (replaced("killed 5", "killed -5"), "1", "75", "\"killed -5\""),
        (replaced("killed 5", "killed +5"), "1", "75", "\"killed +5\""),
        (replaced("killed 5", "killed 0x5"), "1", "75", "\"killed 0x5\""),
        (replaced("killed 5", "killed 18446744073709551616"), "1", "75", "killed 184467"),
        (replaced("killed 5", "killed 5\n"), "1", "75", "not a name and a number: \"\""),
        (COUNTS.to_owned(), "one", "75", "depth: \"one\""),
        (COUNTS.to_owned(), "1", "", "launch_share: \"\""),
        (COUNTS.to_owned(), "1", "101", "launch_share: 101 percent"),
    ] {
        let (_root, system) = with_order(&order, depth, share);
        let error = format!("{:#}", Order::read(&system).unwrap_err());
        assert!(error.contains(why), "{order:?} {depth} {share}: {error}");
    }
    let (_root, system) = with_order(&format!("{COUNTS}more 7\n"), "1", "75");
    assert!(Order::read(&system).unwrap().is_some(), "a newer gate's");
}

#[test]
fn who_waits_is_read_in_order() {
    let text = "0x12f000 7 1 0 5000\n0xffff000 9 255 -3 18446744073709551615\n0x1 0 4 12 0\n";
    let (_root, system) = host(&[(WAITERS, text)]);
    let read = waiters(&system).unwrap();
    let [first, second, third] = read.as_slice() else { panic!("{read:?}") };
    assert_eq!((first.context, first.tgid), (GuestContext(0x12_f000), 7));
    assert_eq!((first.weight, first.start, first.waited_ns), (Weight::DEFAULT, 0, 5000));
    assert_eq!((second.weight.get(), second.start, second.waited_ns), (255, -3, u64::MAX));
    assert_eq!((third.tgid, third.start), (0, 12), "a process of another PID namespace");
    let (_root, system) = host(&[(WAITERS, "")]);
    assert_eq!(waiters(&system).unwrap(), []);
    for wrong in [
        "0x1 7 1 0",
        "0x1 7 1 0 5 6",
        "1 7 1 0 5",
        "0x 7 1 0 5",
        "0x1 -7 1 0 5",
        "0x1 7 0 0 5",
        "0x1 7 256 0 5",
        "0x1 7 1 +1 5",
        "0x1 7 1 - 5",
        "0x1 4294967296 1 0 5",
        "0x1  7 1 0 5",
        "",
    ] {
        let (_root, system) = host(&[(WAITERS, &format!("0x1 7 1 0 5\n{wrong}\n"))]);
        let error = format!("{:#}", waiters(&system).unwrap_err());
        assert!(error.contains(&format!("{wrong:?}")), "{error}");
    }
}

/// Reading address 0 of a process' memory fails with EIO, as reading the list does once the module
/// has removed it.
#[test]
fn nobody_waits_if_the_module_goes_between_open_and_read() {
    let root = tempfile::tempdir().unwrap();
    let system = System::at(root.path());
    fs::create_dir(root.path().join("proc")).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", system.path(WAITERS)).unwrap();
    let error = fs::read_to_string(system.path(WAITERS)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    assert_eq!(waiters(&system).unwrap(), []);
}

#[test]
fn the_switch_changes_only_what_is_not_yet_so() {
    let (_root, system) = with_order(COUNTS, "4\n", "75\n");
    let depth = || system.read(&format!("{PARAMETERS}/depth")).unwrap();
    assert_eq!(switch(&system, true).unwrap(), Some(false));
    assert_eq!(depth(), "4", "on, and more than one slot stay");
    assert_eq!(switch(&system, false).unwrap(), Some(true));
    assert_eq!(depth(), "0");
    assert_eq!(switch(&system, false).unwrap(), Some(false));
    assert_eq!(switch(&system, true).unwrap(), Some(true));
    assert_eq!(depth(), "1");
    fs::write(system.path(&format!("{PARAMETERS}/depth")), "x").unwrap();
    assert!(format!("{:#}", switch(&system, true).unwrap_err()).contains("depth: \"x\""));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text: String) {
        let _ = Counts::parse(&text);
        let _ = text.lines().map(Waiter::parse).count();
    }

    #[test]
    fn what_the_gate_writes_is_read_back(
        numbers in proptest::array::uniform9(any::<u64>()),
        (context, tgid, weight, start) in (any::<u64>(), 0..=i32::MAX as u32, 1..=255u8, any::<i64>()),
    ) {
        let names = COUNTS.lines().filter_map(|line| line.split(' ').next());
        let lines: Vec<_> = names.zip(numbers).map(|(name, n)| format!("{name} {n}\n")).collect();
        let Counts {
            waiting, in_flight, grants, overdue, killed, wait_ns, held_ns, launch_ns, request_ns,
        } = Counts::parse(&lines.concat()).unwrap();
        let read = [
            waiting, in_flight, grants, overdue, killed, wait_ns, held_ns, launch_ns, request_ns,
        ];
        prop_assert_eq!(read, numbers);
        let waited_ns = numbers[0];
        let line = format!("{context:#x} {tgid} {weight} {start} {waited_ns}");
        let weight = Weight::new(weight).unwrap();
        let context = GuestContext(context);
        prop_assert_eq!(Waiter::parse(&line), Some(Waiter { context, tgid, weight, start, waited_ns }));
    }
}
