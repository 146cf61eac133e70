use std::time::{Duration, Instant};

use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, style::Color};

use super::*;
use crate::{
    top::fixture::{INTERVAL, after, model, overview, press, vm},
    wire::{
        events::{EventVm, LaunchStages, PspUser, Work},
        launches::Launch,
    },
};

fn draw(model: &Model, width: u16, height: u16, now: Instant) -> (Buffer, Room) {
    draw_with(model, width, height, now, Theme::new(true))
}

fn draw_with(model: &Model, w: u16, h: u16, now: Instant, theme: Theme) -> (Buffer, Room) {
    let mut terminal = Terminal::new(TestBackend::new(w, h)).unwrap();
    let mut room = Room::default();
    terminal.draw(|frame| room = View::new(theme).draw(frame, model, now)).unwrap();
    (terminal.backend().buffer().clone(), room)
}

fn text(buffer: &Buffer) -> Vec<String> {
    let line = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|y| line(y).trim_end().to_owned()).collect()
}

fn screen(model: &Model, width: u16, height: u16) -> Vec<String> {
    text(&draw(model, width, height, Instant::now()).0)
}

#[test]
fn everything_is_visible_at_80x24() {
    let mut model = model();
    for i in 1..=60 {
        let busy = f64::from(i) - 0.1 * f64::from(i % 4);
        model.answer(Ok(after(f64::from(i), busy)), Instant::now());
    }
    let screen = screen(&model, 80, 24);
    let expected = "
 node-7  guestreq 0.1.0  gate: enforcing, verified                 03:04:05 UTC
 PSP ─────────────────────────────────────── last 10 s           p50     p99 ───
 busy   96 % ▆▆█▆▆▆█▆▆▆█▆▆▆█▆▆▆█▆▆▆█▆▆▆█▆▆▆█ vm_lock         37.5 ms  193 ms
             ███████████████████████████████ psp_queue       28.1 ms  194 ms
 queue   0.9 ███████████████████████████████ psp_service     18.6 ms 28.8 ms
 max     2.0 ███████████████████████████████ 53.1 requests/s of 7 running VMs
 now: 2 waiting, held by greedy for 14.6 ms
 8 VMs, by PSP share ▼ ─────────────────────────────────────────────────────────
VM                    PSP REQ/S REPORT   KEY OTHER     P50     P99 DENIED   BUSY
greedy       ████▌   74 %  42.0   42.0     -     - 59.8 ms  193 ms      -      -
batch        ▌      8.4 %   4.7    2.4   2.3     - 36.5 ms  155 ms      -      -
confused     ▎      3.7 %   2.0    0.7     -   1.3 76.2 ms  190 ms   (34)      -";
    let expected: Vec<&str> = expected.lines().skip(1).collect();
    assert_eq!(screen[..12], expected, "{screen:#?}");
    assert!(screen[14].starts_with("web-1") && screen[14].ends_with("7"), "{screen:#?}");
    assert!(screen[16].starts_with("old          exited"), "{screen:#?}");
    assert!(screen[23].starts_with(" q quit  ? help"), "{screen:#?}");
}

#[test]
fn a_vm_s_detail_shows_its_pod() {
    let mut data = overview();
    let web = vm(&mut data, "web-1");
    web.namespace = "prod".to_owned();
    web.pod_uid = "1858680e-b044-4fd5-9dd4-f137e30e2180".to_owned();
    let mut model = Model::new(data, INTERVAL, Instant::now());
    press(&mut model, "/web-1⏎⏎");
    let screen = text(&draw(&model, 100, 40, Instant::now()).0).join("\n");
    assert!(
        screen.contains("namespace prod, uid 1858680e-b044-4fd5-9dd4-f137e30e2180"),
        "{screen}"
    );
}

#[test]
fn a_vm_s_detail_has_all_that_is_known_of_it() {
    let mut model = model();
    press(&mut model, "/web-1⏎⏎");
    let (buffer, room) = draw(&model, 100, 40, Instant::now());
    let screen = text(&buffer).join("\n");
    for part in [
        "VM web-1",
        "req/s   1.1",
        "qemu pid 142, running, last request 20.0 ms ago",
        "1.9 % now; since start: launch 21.0 ms",
        "p50 69.0 ms, p99 118 ms now; since start: p50 76.7 ms, p99 147 ms",
        "vm_lock 423 µs, psp_queue 63.5 ms, psp_service 17.7 ms",
        "enforce  [override (uid 0, 2026-01-02T03:04:05Z)]",
        "30/m, burst 4  [/etc/guestreq/conf.d/web.toml:7 (name = \"web-*\")]",
        "admitted report 16; got BUSY report 7",
        "would admit report 10",
        "report               1.1       33  busy 7, ok 26",
        "0: 26, 1: 0, 2: 0, 3: 0",
        "no anomalies",
        "Esc back",
    ] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
    assert_eq!(room.scroll, 0, "nothing is hidden");
    assert!(draw(&model, 80, 15, Instant::now()).1.scroll > 0, "here it can be scrolled");
}

#[test]
fn old_data_are_marked_with_age_and_reason() {
    let mut model = model();
    let now = Instant::now();
    model.answer(Err("no agent answers at /run/x: start it".to_owned()), now);
    let (buffer, _) = draw(&model, 80, 24, now + Duration::from_secs(75));
    let screen = text(&buffer);
    assert!(screen[0].contains(" STALE 1m 15s "), "{screen:#?}");
    assert_eq!(screen[23], " no agent answers at /run/x: start it");
    assert!(screen[9].starts_with("greedy"), "the last data stay");
    assert_eq!(buffer[(0, 9)].fg, Color::DarkGray, "greyed");
    press(&mut model, "p");
    assert!(text(&draw(&model, 80, 24, now).0)[0].contains(" PAUSED "));
}

#[test]
fn missing_enforcement_and_losses_are_prominent() {
    let mut model = model();
    model.data.policy.enforcement.verified = false;
    model.data.policy.enforcement.reason = Some("the gate is not loaded".to_owned());
    model.data.psp.lost.insert("vm_table_full".to_owned(), 12_345);
    let screen = screen(&model, 80, 24);
    assert!(screen[0].contains("gate: NOT ENFORCED: the gate is not load…"), "{screen:#?}");
    assert!(screen[6].ends_with("lost 12k: vm_table_full"), "{screen:#?}");
}

/// At 24 lines there is room for one more than the stages and the rate.
#[test]
fn the_order_shows_who_waits_and_is_held_unless_something_is_wrong() {
    let order = |overdue: u64, depth: u64| {
        serde_json::from_value(serde_json::json!({
            "depth": depth, "launch_share": 0.75, "waiting": 13, "in_flight": 1, "held": false,
            "recent_held_share": 0.125, "grants": 40, "overdue": 7, "killed": 0,
            "recent_overdue": overdue,
            "waited_seconds": 1.0, "held_seconds": 2.0, "launch_seconds": 1.0,
            "request_seconds": 3.0, "waiters": [],
        }))
        .unwrap()
    };
    let mut model = model();
    let mut line = |overdue, depth, height| {
        model.data.psp.order = Some(order(overdue, depth));
        screen(&model, 80, height)[6..8].to_vec()
    };
    let held = "order: 13 waiting, held 12 %";
    assert!(line(0, 1, 24)[0].ends_with(held), "7 were overdue before: {:?}", line(0, 1, 24));
    assert!(line(0, 0, 24)[0].ends_with("order off"));
    assert!(line(3, 1, 24)[0].ends_with("overdue 3"));
    assert!(line(3, 1, 40)[1].ends_with(held), "{:?}", line(3, 1, 40));
    assert!(line(3, 0, 40)[1].ends_with("order off"));
}

#[test]
fn without_colours_nothing_is_missing() {
    let mut model = model();
    press(&mut model, "jj");
    let now = Instant::now();
    let (plain, _) = draw_with(&model, 80, 24, now, Theme::new(false));
    assert!(plain.content.iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset)));
    assert_eq!(text(&plain), text(&draw(&model, 80, 24, now).0));
}

#[test]
fn a_terminal_of_10x3_shows_who_has_the_psp() {
    assert_eq!(screen(&model(), 10, 3), ["PSP 96 %", "gre…  74 %", "bat… 8.4 %"]);
    assert_eq!(screen(&model(), 1, 1), ["…"]);
}

#[test]
fn no_vms_and_no_match_have_a_message() {
    let mut model = model();
    press(&mut model, "/nobody");
    assert!(screen(&model, 80, 24)[9].contains("No VM's name or UUID matches"));
    model.data.vms.vms.clear();
    assert!(screen(&model, 80, 24)[9].contains("No VM has sent a guest request"));
}

#[test]
fn the_selected_vm_is_visible_however_many_there_are() {
    let mut data = overview();
    for i in 0..500 {
        let mut vm = overview().vms.vms.remove(7);
        (vm.pid, vm.name, vm.vm) = (1000 + i, format!("many-{i}"), format!("many-{i}"));
        data.vms.vms.push(vm);
    }
    let mut model = Model::new(data, Duration::from_secs(1), Instant::now());
    press(&mut model, "G");
    let screen = screen(&model, 80, 24);
    assert!(screen[22].starts_with("old"), "{screen:#?}");
}

#[test]
fn running_launches_are_above_the_vms_and_omitted_if_space_is_short() {
    let mut model = model();
    model.data.launches = vec![launch("web-9", "running", 60.0), launch("db-9", "stalled", 75.0)];
    let shown = screen(&model, 80, 24);
    assert!(shown[7].starts_with(" 2 launches ──"), "{shown:#?}");
    assert_eq!(shown[8], " db-9: 512 pages in 75.0 s, stalled: no command for 61.0 s");
    assert_eq!(shown[9], " web-9: 512 pages in 60.0 s, 75 % of it waiting for the PSP: greedy");
    assert!(shown[10].starts_with(" 8 VMs"), "{shown:#?}");
    assert!(!screen(&model, 80, 19).concat().contains("launches"));
}

fn launch(name: &str, state: &'static str, seconds: f64) -> Launch {
    let vm = EventVm { vm: Some(name.to_owned()), name: None, uuid: None, pid: 1 };
    let stage_seconds = LaunchStages { psp_queue: 45.0, psp_service: 12.0, vmm: 3.0 };
    let psp_used_by = Some(vec![PspUser { vm: Some("greedy".to_owned()), seconds: 9.0 }]);
    let work = Work { pages: 512, stage_seconds, psp_used_by, ..Work::default() };
    let started = "2026-01-31T12:00:00.5Z".parse().unwrap();
    Launch { vm, state: state.into(), started, seconds, seconds_ago: 61.0, inferred: false, work }
}

/// Hostile names.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        Just("a\"b\\c'\n\r\t\x1b[2J\x1b]0;owned\x07\u{9b}31m".to_owned()),
        Just("机密虚拟机🦀👨‍👩‍👧".repeat(300)),
        Just("e\u{301}".repeat(2000)),
        Just("x".repeat(4096)),
        Just("\u{202e}\u{200b}\u{2028}".to_owned()),
        Just(String::new()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_size_no_name_and_no_key_makes_it_panic(
        (width, height) in (1..200u16, 1..60u16),
        names in proptest::collection::vec(hostile(), 8),
        keys in "[jkGgsSp/? q↑↓⏎⎋⌫⇟aé]{0,12}",
        late in 0..100u64,
    ) {
        let mut data = overview();
        for (vm, name) in data.vms.vms.iter_mut().zip(&names) {
            vm.vm = name.clone();
            vm.name = name.clone();
            vm.results.insert(name.clone(), [(name.clone(), u64::MAX / 2)].into());
        }
        vm_extremes(&mut data);
        data.agent.host = names[0].clone();
        data.agent.at = names[1].clone();
        data.psp.holder.as_mut().unwrap().vm = Some(names[2].clone());
        data.launches = names.iter().map(|name| launch(name, "running", f64::NAN)).collect();
        let mut model = Model::new(data, Duration::from_secs(1), Instant::now());
        model.answer(Ok(after(2.0, 1.0)), Instant::now());
        model.answer(Err(names[3].clone()), Instant::now());
        let now = Instant::now() + Duration::from_secs(late);
        for key in keys.chars() {
            press(&mut model, &key.to_string());
            let (buffer, room) = draw(&model, width, height, now);
            model.fit(room);
            for cell in &buffer.content {
                let symbol = cell.symbol();
                prop_assert!(!symbol.chars().any(char::is_control), "{symbol:?}");
                // A letter with its marks, of which names keep a bounded number.
                prop_assert!(symbol.len() <= 256, "{symbol:?}");
            }
        }
    }
}

fn vm_extremes(data: &mut crate::wire::overview::Overview) {
    let first = data.vms.vms[0].vm.clone();
    let vm = vm(data, &first);
    vm.recent_psp_share = f64::MAX;
    vm.recent_requests_per_second = f64::NAN;
    vm.recent_p99_seconds = Some(f64::INFINITY);
    vm.requests = u64::MAX;
    vm.vmpck = vec![u64::MAX / 8; 7];
    data.psp.recent_utilisation = -1.0;
    data.psp.queue_length = u64::MAX;
    data.psp.window_seconds = f64::NAN;
}
