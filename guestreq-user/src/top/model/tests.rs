use std::time::Instant;

use super::*;
use crate::top::fixture::{INTERVAL, after, control, model, overview, press, vm};

fn names(model: &Model) -> Vec<String> {
    model.rows().iter().map(|row| row.vm.vm.clone()).collect()
}

fn selected(model: &Model) -> Option<String> {
    let rows = model.rows();
    model.selected_row(&rows).map(|at| rows[at].vm.vm.clone())
}

#[test]
fn vms_are_listed_in_the_selected_order() {
    let mut model = model();
    assert_eq!(names(&model)[..3], ["greedy", "batch", "confused"], "by the PSP's share");
    press(&mut model, "ss");
    assert_eq!((model.sort, names(&model)[0].as_str()), (Sort::P99, "greedy"));
    press(&mut model, "s");
    let denied = names(&model);
    assert_eq!(denied[..2], ["web-1", "confused"], "refused before would be refused");
    press(&mut model, "s");
    assert_eq!(names(&model)[..3], ["batch", "certs", "confused"]);
    press(&mut model, "S");
    assert_eq!(names(&model)[..3], ["web-1", "web-0", "replayer"]);
    press(&mut model, "s");
    assert_eq!(model.sort, Sort::Share, "back at the first");
}

#[test]
fn the_selection_stays_on_its_vm_when_the_order_changes() {
    let mut model = model();
    assert_eq!(selected(&model), None);
    press(&mut model, "jj");
    assert_eq!(selected(&model).as_deref(), Some("batch"));
    let mut data = after(1.0, 0.5);
    vm(&mut data, "batch").recent_psp_share = 0.9;
    // With a successor of the same name the old one gets another label.
    vm(&mut data, "batch").vm = "batch@134".to_owned();
    model.answer(Ok(data), Instant::now());
    assert_eq!(names(&model)[0], "batch@134");
    assert_eq!(selected(&model).as_deref(), Some("batch@134"));
    press(&mut model, "G↓↓");
    assert_eq!(selected(&model), names(&model).last().cloned());
    press(&mut model, "g↑");
    assert_eq!(selected(&model), names(&model).first().cloned());
}

#[test]
fn a_filter_is_typed_and_cleared_with_escape() {
    let mut model = model();
    press(&mut model, "/WEB");
    assert_eq!(names(&model), ["web-0", "web-1"]);
    press(&mut model, "q");
    assert_eq!((names(&model).len(), model.typing), (0, true), "letters go to the filter");
    press(&mut model, "⌫↓⏎");
    assert_eq!((selected(&model).as_deref(), model.typing), (Some("web-0"), false));
    press(&mut model, "⎋");
    assert_eq!((names(&model).len(), model.filter.as_str()), (8, ""));
    press(&mut model, "/4C4C4544");
    assert_eq!(names(&model), ["batch"], "by UUID, too");
    control(&mut model, 'u');
    assert_eq!((names(&model).len(), model.typing), (8, true));
    press(&mut model, &"x".repeat(5000));
    assert_eq!(model.filter.len(), 100);
    press(&mut model, "⎋");
    assert_eq!((names(&model).len(), model.typing), (8, false));
}

#[test]
fn a_vm_s_detail_opens_closes_and_stays_after_the_vm_exits() {
    let mut model = model();
    press(&mut model, "⏎");
    let Screen::Detail { of, .. } = &model.screen else { panic!("no detail") };
    assert_eq!(model.detailed(of).unwrap().vm.vm, "greedy", "the first, if none is selected");
    let of = of.clone();
    model.fit(Room { rows: 10, scroll: 3 });
    press(&mut model, "⇟");
    assert_eq!(model.screen, Screen::Detail { of: of.clone(), scroll: 3 }, "not beyond its end");
    let mut data = after(1.0, 0.5);
    data.vms.vms.remove(0);
    model.answer(Ok(data), Instant::now());
    assert!(model.detailed(&of).is_none());
    press(&mut model, "⎋");
    assert_eq!((&model.screen, selected(&model)), (&Screen::List, None));
}

#[test]
fn a_pause_freezes_the_data() {
    let mut model = model();
    press(&mut model, "p");
    let mut data = after(1.0, 0.5);
    vm(&mut data, "greedy").requests = 1;
    model.answer(Ok(data), Instant::now());
    model.answer(Err("gone".to_owned()), Instant::now());
    assert_eq!(model.data.vms.vms[0].requests, 1094);
    assert_eq!(model.stale(Instant::now() + 100 * INTERVAL), None, "old on purpose");
    press(&mut model, " ");
    assert!(!model.paused);
    assert_eq!(model.stale(Instant::now()), None);
}

#[test]
fn old_data_show_the_reason_and_recover() {
    let mut model = model();
    let now = Instant::now();
    assert_eq!(model.stale(now + 4 * INTERVAL), None, "not stale yet");
    assert_eq!(model.stale(now + 6 * INTERVAL), Some("the agent does not answer"));
    model.answer(Err("no agent answers".to_owned()), now);
    assert_eq!(model.stale(now), Some("no agent answers"));
    assert_eq!(model.data.vms.vms.len(), 8, "the last data stay");
    model.answer(Ok(overview()), now + 60 * INTERVAL);
    assert_eq!(model.stale(now + 60 * INTERVAL), None);
    assert_eq!(model.age(now + 61 * INTERVAL), INTERVAL);
}

#[test]
fn history_has_one_value_for_each_interval() {
    let busy = |history: &History| history.busy.latest().collect::<Vec<_>>();
    let mut model = model();
    assert_eq!(busy(&model.history), []);
    model.answer(Ok(after(1.0, 0.25)), Instant::now());
    assert_eq!(busy(&model.history), [Some(0.25)]);
    // Two intervals late: their mean, twice.
    model.answer(Ok(after(3.0, 1.25)), Instant::now());
    assert_eq!(busy(&model.history), [Some(0.5), Some(0.5), Some(0.25)]);
    // A counter reset.
    model.answer(Ok(after(4.0, -20.0)), Instant::now());
    assert_eq!(busy(&model.history)[0], None);
    // The same time twice, or going back.
    model.answer(Ok(after(4.0, -20.0)), Instant::now());
    model.answer(Ok(after(2.0, -20.0)), Instant::now());
    assert_eq!(busy(&model.history).len(), 4);
    model.answer(Ok(after(1e9, 0.0)), Instant::now());
    assert_eq!(busy(&model.history).len(), 512, "bounded");
}

#[test]
fn requests_that_wait_for_ever_are_shown_as_waiting() {
    let mut model = model();
    let mut hung = after(1.0, 1.0);
    hung.psp.queue_length = 7;
    model.answer(Ok(hung), Instant::now());
    assert_eq!(model.history.queue.latest().next(), Some(Some(7.0)));
}

#[test]
fn a_vm_s_series_begins_and_ends_with_its_record() {
    let mut model = model();
    let greedy = Key::of(&model.data.vms.vms[0]);
    let mut data = after(2.0, 1.0);
    vm(&mut data, "greedy").requests += 84;
    model.answer(Ok(data), Instant::now());
    let series = model.history.vm(&greedy).unwrap();
    assert_eq!(series.latest().collect::<Vec<_>>(), [Some(42.0), Some(42.0)]);
    let mut data = after(3.0, 1.0);
    data.vms.vms.remove(0);
    model.answer(Ok(data), Instant::now());
    assert!(model.history.vm(&greedy).is_none());
}

#[test]
fn quitting_always_takes_one_key() {
    for before in ["", "/", "?", "⏎", "p", "/x"] {
        let mut model = model();
        press(&mut model, before);
        assert_eq!(control(&mut model, 'c'), Some(Action::Quit), "after {before:?}");
    }
    for before in ["", "?", "⏎", "p"] {
        let mut model = model();
        press(&mut model, before);
        assert_eq!(press(&mut model, "q"), Some(Action::Quit), "after {before:?}");
    }
    let mut model = model();
    assert_eq!(control(&mut model, 'z'), Some(Action::Suspend));
    assert_eq!(control(&mut model, 'l'), Some(Action::Redraw));
    press(&mut model, "?x");
    assert!(!model.help, "any key ends the help");
}
