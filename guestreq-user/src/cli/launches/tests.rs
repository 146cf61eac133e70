use super::*;
use crate::wire::events::{EventVm, LaunchStages, Work};

fn launch(vm: Option<&str>, state: &'static str, seconds_ago: f64) -> Launch {
    let vm = EventVm { vm: vm.map(str::to_owned), name: None, uuid: None, pid: 7 };
    let started = "2026-01-31T12:00:00.5Z".parse().unwrap();
    let stage_seconds = LaunchStages { psp_queue: 45.0, psp_service: 12.0, vmm: 3.0 };
    let work = Work { commands: 514, pages: 512, stage_seconds, ..Work::default() };
    Launch { vm, state: state.into(), started, seconds: 60.0, seconds_ago, inferred: false, work }
}

fn user(vm: Option<&str>, seconds: f64) -> PspUser {
    PspUser { vm: vm.map(str::to_owned), seconds }
}

#[test]
fn a_launch_s_row_shows_where_its_minute_went_and_what_it_waited_for() {
    let mut finished = launch(Some("web-1"), "finished", 5.0);
    finished.work.psp_used_by = Some(vec![user(Some("greedy"), 40.0), user(None, 0.035_2)]);
    let mut failed = launch(None, "failed", 5.0);
    failed.work.partial = true;
    failed.work.failed_command = Some("snp_launch_finish".to_owned());
    failed.work.failed_result = Some("bad_measurement".to_owned());
    let table = table(&Launches { launches: vec![finished, failed] });
    let lines: Vec<&str> = table.lines().collect();
    let row = lines[1].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        row,
        "web-1 finished 2026-01-31T12:00:00Z 60.0 s 512 45.0 s 75.0 % 12.0 s 3.00 s greedy 40.0 s, \
         the host 35.2 ms"
    );
    assert!(lines[2].starts_with(" pid 7  failed"), "{table}");
    assert!(lines[2].contains(" >60.0 s "), "its beginning is missing: {table}");
    assert!(
        lines[2].ends_with("  -                                snp_launch_finish: bad_measurement")
    );
}

#[test]
fn an_inferred_end_is_shown_as_such() {
    let vanished = Launch { inferred: true, ..launch(Some("web"), "process_exited", 90.0) };
    let table = table(&Launches { launches: vec![vanished] });
    assert!(table.contains("web  process_exited (inferred)  2026"), "{table}");
}

#[test]
fn no_launch_has_a_message() {
    assert_eq!(table(&Launches { launches: Vec::new() }), "No launch was seen.\n");
    assert_eq!(waited_for(Some(&[])), "nobody");
}

#[test]
fn running_ones_the_last_20_and_those_of_the_last_hour_are_shown() {
    let running = || launch(Some("slow"), Launch::STALLED, 7200.0);
    let shown = |ended: usize, age: f64| {
        let ended = (0..ended).map(|_| launch(Some("web"), "finished", age));
        recent([running()].into_iter().chain(ended).collect()).len()
    };
    assert_eq!(shown(0, 0.0), 1);
    assert_eq!(shown(100, 3599.0), 101);
    assert_eq!(shown(100, 3601.0), 1 + LATEST);
    assert_eq!(shown(5, 86_400.0), 6);
}
