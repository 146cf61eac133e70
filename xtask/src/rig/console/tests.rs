use super::*;

fn read(lines: &[&str]) -> Console {
    let mut console = Console::default();
    for line in lines {
        console.line(line);
    }
    console
}

#[test]
fn reports_are_read() {
    let console = read(&[
        "RIG: run a/counts: it counts",
        "RIG: ok a/counts (1.2 s)",
        "RIG: FAILED a/latency: p99 was 3: too low",
        "RIG: run a/gate: the gate: it decides",
        "RIG: skipped a/gate: not built",
        "RIG: done 3",
    ]);
    let reports: Vec<_> = console
        .reports
        .iter()
        .map(|r| (r.id.as_str(), r.description.as_str(), &r.status, r.detail.as_str()))
        .collect();
    assert_eq!(
        reports,
        [
            ("a/counts", "it counts", &Status::Passed, "1.2 s"),
            ("a/latency", "", &Status::Failed, "p99 was 3: too low"),
            ("a/gate", "the gate: it decides", &Status::Skipped, "not built"),
        ]
    );
    assert!(console.done);
    assert_eq!(console.trouble(), None);
    assert_eq!(console.running(), None);
    assert_eq!(read(&["RIG: run a/hangs: it ends"]).running(), Some("a/hangs"));
}

#[test]
fn a_scenario_without_a_result_has_failed() {
    let failed = |console: Console| -> Vec<String> {
        assert!(console.reports.iter().all(|report| report.status == Status::Failed));
        console.reports.into_iter().map(|report| report.id).collect()
    };
    let (run, split) = ("RIG: run a/counts: it counts", "RIG: FAI[    9.1] audit: type=1400");
    assert_eq!(failed(read(&[run, split, "RIG: run a/next: it follows"])), ["a/counts"]);
    assert_eq!(failed(read(&[run, split, "RIG: done 1"])), ["a/counts"]);
    assert_eq!(failed(read(&["RIG: ru[    9.1] audit", split, "RIG: done 1"])), ["console"]);
    assert_eq!(failed(read(&["RIG: done"])), ["console"]);
}

#[test]
fn only_a_scenario_that_reboots_may_run_twice() {
    let (run, ok) = ("RIG: run a/boots: it reboots", "RIG: ok a/boots (9.1 s)");
    let statuses = |lines: &[&str]| -> Vec<Status> {
        read(lines).reports.into_iter().map(|report| report.status).collect()
    };
    assert_eq!(statuses(&[run, "RIG: reboot", run, ok]), [Status::Passed]);
    assert_eq!(statuses(&[run, run, ok]), [Status::Failed, Status::Passed]);
    assert_eq!(statuses(&[run, "RIG: reboot", run, run, ok]), [Status::Failed, Status::Passed]);
}

#[test]
fn only_announced_warnings_are_forgiven() {
    let warning =
        "[    4.2] WARNING: CPU: 1 PID: 88 at arch/x86/kvm/svm/sev.c:2838 snp_decommission";
    assert_eq!(read(&[warning]).trouble(), Some(warning));
    assert_eq!(read(&["RIG: expect-warning snp_decommission", warning]).trouble(), None);
    assert!(read(&["RIG: expect-warning something else", warning]).trouble().is_some());
    assert_eq!(read(&["guestreq: WARNING: not a line of the kernel's"]).trouble(), None);
}
#[test]
fn what_a_debug_kernel_finds_is_a_warning() {
    for found in [
        "[    9.1] WARNING: possible circular locking dependency detected",
        "[    9.1] WARNING: inconsistent lock state",
        "[    9.1] WARNING: suspicious RCU usage",
        "[    9.1] [ BUG: Invalid wait context ]",
        "[    9.1] BUG: sleeping function called from invalid context at mm/slab.h:302",
        "[    9.1] BUG: spinlock bad magic on CPU#0, scenarios/88",
        "[    9.1] BUG: MAX_LOCKDEP_CHAINS too low!",
        "[    9.1] INFO: trying to register non-static key.",
        "[    9.1] turning off the locking correctness validator.",
        "[    9.1] BUG: KASAN: slab-use-after-free in order_leave+0x1/0x2 [guestreq_gate]",
        "[    9.1] CFI failure at order_leave+0x1/0x2 [guestreq_gate] (target: x+0x0/0x10; expected \
         type: 0x973e8484)",
        "[    9.1] ODEBUG: free active (active state 0) object type: hrtimer, WARNING: CPU: 1",
    ] {
        assert_eq!(read(&[found]).trouble(), Some(found));
    }
    let race = "[    9.1] BUG: KCSAN: data-race in order_read [guestreq_gate] / grant";
    assert_eq!(read(&[race]).trouble(), race.split_once("KCSAN: ").map(|it| it.1));
    let other = "[    9.1] BUG: KCSAN: data-race in tick_sched / tick_sched";
    assert_eq!(read(&[other]).trouble(), None);
    assert_eq!(read(&[other]).races.others().len(), 1);
}
