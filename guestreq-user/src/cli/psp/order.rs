//! # The gate's order, and who waits in it

use crate::{
    cli::table::{self, name},
    text::{duration, percent, printable},
    wire::{
        Psp,
        order::{Order, Waiter},
    },
};

/// Lines of the summary.
pub fn summary(psp: &Psp) -> String {
    if let Some(error) = &psp.order_error {
        return format!("Order        unknown: {}\n", printable(error));
    }
    let Some(order) = &psp.order else {
        return "Order        none: no gate that has one\n".to_owned();
    };
    let mut text = match order.depth {
        0 => "Order        off (depth=0)\n".to_owned(),
        depth => {
            let Order { waiting, in_flight, .. } = *order;
            let (used, held) = (in_flight.min(depth), percent(order.recent_held_share));
            let mut text = format!(
                "Order        {waiting} waiting, {used} of {depth} slots in use, \
                 {held} of the time held for launches\n"
            );
            if in_flight > depth {
                let more = requests(in_flight - depth);
                text.push_str(&format!("No slot      {more} at the PSP: {}\n", why_more(order)));
            }
            text
        }
    };
    let used = order.launch_seconds + order.request_seconds;
    if used > 0.0 {
        text.push_str(&format!(
            "Launches     {} of the time that launches and requests used since the gate was loaded\n",
            percent(order.launch_seconds / used)
        ));
    }
    if order.overdue > 0 {
        let overdue = requests(order.overdue);
        text.push_str(&format!("Overdue      {overdue} since the gate was loaded\n"));
    }
    if let Some(error) = &order.waiters_error {
        text.push_str(&format!("Who waits    unknown: {}\n", printable(error)));
    }
    text
}

/// Why more requests were let through than there are slots, as far as the counts tell. One that was
/// overdue before the window may still be at the PSP.
fn why_more(order: &Order) -> &'static str {
    match (order.overdue, order.recent_overdue) {
        (0, _) => "owed to requests beside launches, or let through before depth was lowered",
        (_, 0) => "overdue, or owed to requests beside launches",
        _ => "overdue",
    }
}

fn requests(count: u64) -> String {
    let requests = if count == 1 { "request" } else { "requests" };
    format!("{count} {requests}")
}

/// Who waits, the next one first.
pub fn waiters(order: &Order) -> String {
    let mut table = table::new(&["NEXT", "VM", "PID", "WEIGHT", "WAITED", "WHY"], &[0, 2, 3, 4]);
    for (at, waiter) in (1..).zip(&order.waiters) {
        let vm = waiter.vm.as_deref().map_or_else(|| "-".to_owned(), name);
        table.add_row([
            at.to_string(),
            vm,
            waiter.pid.to_string(),
            waiter.weight.to_string(),
            duration(waiter.waited_seconds),
            why(waiter),
        ]);
    }
    let mut text = table::text(&table);
    let listed = order.waiters.len();
    let more = order.waiting.saturating_sub(listed as u64);
    if listed >= Order::MOST_LISTED && more > 0 {
        text.push_str(&format!("{more} more wait\n"));
    }
    text
}

fn why(waiter: &Waiter) -> String {
    let behind = waiter.behind.as_deref().map(name);
    match (&*waiter.reason, behind) {
        (Waiter::LAUNCH, Some(vm)) => format!("held for the launch of {vm}"),
        (Waiter::LAUNCH, None) => "held for launches".to_owned(),
        (Waiter::SLOT, Some(vm)) => format!("{vm} has the PSP"),
        (Waiter::SLOT, None) => "all slots are in use".to_owned(),
        (_, Some(vm)) => format!("behind {vm}"),
        (reason, None) => printable(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::overview::Overview;

    fn order() -> Order {
        let waiter = |vm: Option<&str>, reason: &'static str, behind: Option<&str>| Waiter {
            vm: vm.map(str::to_owned),
            pid: 142,
            weight: 4,
            waited_seconds: 0.0125,
            reason: reason.into(),
            behind: behind.map(str::to_owned),
        };
        Order {
            depth: 1,
            launch_share: 0.75,
            waiting: 3,
            in_flight: 1,
            held: false,
            recent_held_share: 0.125,
            grants: 40,
            overdue: 0,
            recent_overdue: 0,
            killed: 0,
            waited_seconds: 1.0,
            held_seconds: 2.0,
            launch_seconds: 1.0,
            request_seconds: 3.0,
            waiters: vec![
                waiter(Some("web\n"), Waiter::SLOT, Some("greedy")),
                waiter(None, Waiter::TURN, Some("web\n")),
                waiter(Some("db"), Waiter::LAUNCH, Some("new")),
                waiter(Some("db"), Waiter::LAUNCH, None),
                waiter(Some("db"), Waiter::SLOT, None),
                waiter(Some("db"), "later\n", None),
            ],
            waiters_error: None,
        }
    }

    fn psp(order: Option<Order>, error: Option<&str>) -> Psp {
        let overview = include_str!("../../../tests/top/overview.json");
        let mut psp = serde_json::from_str::<Overview>(overview).unwrap().psp;
        (psp.order, psp.order_error) = (order, error.map(str::to_owned));
        psp
    }

    #[test]
    fn who_waits_is_listed_in_order_with_the_reason() {
        let text = waiters(&order());
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        for (line, end) in lines.iter().zip([
            "WAITED  WHY",
            "12.5 ms  greedy has the PSP",
            "12.5 ms  behind web\\n",
            "12.5 ms  held for the launch of new",
            "12.5 ms  held for launches",
            "12.5 ms  all slots are in use",
            "12.5 ms  later\\n",
        ]) {
            assert!(line.ends_with(end), "{end}\n{text}");
        }
        let second: Vec<_> = lines[2].split_whitespace().take(4).collect();
        assert_eq!(second, ["2", "-", "142", "4"]);
        assert!(lines[1].contains("web\\n"), "{text}");
        assert_eq!(lines.len(), 7, "{text}");
    }

    #[test]
    fn a_long_list_says_how_many_more_wait() {
        let mut long = order();
        long.waiters = vec![long.waiters.remove(0); Order::MOST_LISTED];
        long.waiting = 300;
        assert!(waiters(&long).ends_with("\n44 more wait\n"));
        long.waiting = 3;
        assert!(!waiters(&long).contains("more wait"), "the counts are of a moment before");
    }

    #[test]
    fn the_summary_says_whether_there_is_an_order() {
        let on = summary(&psp(Some(order()), None));
        assert!(
            on.contains("3 waiting, 1 of 1 slots in use, 12.5 % of the time held for launches\n"),
            "{on}"
        );
        assert!(
            on.contains("25.0 % of the time that launches and requests used")
                && !on.contains("Overdue"),
            "{on}"
        );
        let late = summary(&psp(Some(Order { overdue: 2, ..order() }), None));
        assert!(late.contains("Overdue      2 requests since the gate was loaded\n"), "{late}");
        let off = summary(&psp(Some(Order { depth: 0, ..order() }), None));
        assert!(off.contains("Order        off (depth=0)\n"), "{off}");
        assert!(summary(&psp(None, None)).contains("none: no gate that has one"));
        let unknown = summary(&psp(None, Some("grant\nit")));
        assert_eq!(unknown, "Order        unknown: grant\\nit\n");
    }

    #[test]
    fn without_the_list_the_summary_says_why() {
        let why = Some("grant\nit".to_owned());
        let text =
            summary(&psp(Some(Order { waiters: Vec::new(), waiters_error: why, ..order() }), None));
        assert!(text.contains("Order        3 waiting, 1 of 1 slots"), "{text}");
        assert!(text.ends_with("Who waits    unknown: grant\\nit\n"), "{text}");
    }

    #[test]
    fn more_requests_than_slots_are_explained() {
        let line = |in_flight, overdue, recent_overdue| {
            let order = Order { in_flight, overdue, recent_overdue, depth: 2, ..order() };
            let text = summary(&psp(Some(order), None));
            assert!(text.contains("2 of 2 slots in use, 12.5 %"), "{text}");
            let line = text.lines().find(|line| line.starts_with("No slot"));
            line.unwrap_or_default().to_owned()
        };
        assert_eq!(line(2, 4, 4), "");
        let owed = "No slot      1 request at the PSP: owed to requests beside launches, \
                    or let through before depth was lowered";
        assert_eq!(line(3, 0, 0), owed);
        assert_eq!(line(5, 4, 4), "No slot      3 requests at the PSP: overdue");
        assert!(line(3, 4, 0).ends_with("overdue, or owed to requests beside launches"));
    }
}
