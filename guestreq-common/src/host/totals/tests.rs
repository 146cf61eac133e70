use std::boxed::Box;

use proptest::prelude::*;

use super::*;
use crate::host::Loss;

fn zeroed() -> Box<HostTotals> {
    Box::new(HostTotals::from_words(core::iter::empty()))
}

/// One that differs from others.
fn some(seed: u64) -> Box<HostTotals> {
    Box::new(HostTotals::from_words((0..).map(|word: u64| (word * 7 + seed) % 1_000)))
}

proptest! {
    /// Two versions see the same from a moment on; the older one is then let go of.
    #[test]
    fn totals_go_on_where_another_version_s_end(before in 0..1_000_u64, both in 0..1_000_u64, after in 0..1_000_u64) {
        let (mut old, mut new) = (some(before), zeroed());
        old.add(&some(both));
        new.add(&some(both));
        // What only one of them counted, whichever was asked.
        *old.message(3).results.cell(Outcome::DENIED) = 5;
        *new.message(3).results.cell(Outcome::DENIED) = 2;
        old.lost[Loss::RingBufferFull as usize] = 40;
        new.lost[Loss::RingBufferFull as usize] = 1;
        let inherited = new.inherit(&old);
        new.add(&some(after));
        *new.message(3).results.cell(Outcome::DENIED) = 2;
        let mut shown = new;
        shown.add(&inherited);

        let mut expected = some(before);
        expected.add(&some(both));
        expected.add(&some(after));
        prop_assert_eq!(shown.commands(), expected.commands());
        prop_assert_eq!(shown.exits, expected.exits);
        let results = |totals: &HostTotals| totals.messages[5].results.get(Outcome::OK);
        prop_assert_eq!(results(&shown), results(&expected));
        prop_assert_eq!(shown.messages[5].stage, expected.messages[5].stage);
        prop_assert_eq!(shown.messages[3].results.get(Outcome::DENIED), 7);
        prop_assert_eq!(
            shown.lost[Loss::RingBufferFull as usize],
            41 + some(after).lost[Loss::RingBufferFull as usize]
        );
    }

    /// To be asked twice, as after an agent that died in between, changes nothing.
    #[test]
    fn to_inherit_again_is_the_same(old in 0..1_000_u64, new in 0..1_000_u64, more in 0..1_000_u64) {
        let (mut old, mut new) = (some(old), some(new));
        let first = new.inherit(&old);
        old.add(&some(more));
        new.add(&some(more));
        let second = new.inherit(&old);
        prop_assert_eq!(first.commands(), second.commands());
        prop_assert_eq!(first.exits, second.exits);
        prop_assert_eq!(first.guest_statuses, second.guest_statuses);
    }
}

#[test]
fn a_shorter_layout_leaves_what_it_lacks_at_zero() {
    let totals = HostTotals::from_words(core::iter::repeat_n(1, WORDS - 1));
    assert_eq!(totals.lost, [1; LOSSES]);
    assert_eq!(totals.bypassed, 0, "the last word");
}

#[test]
fn words_that_a_later_layout_adds_are_left_out() {
    let totals = HostTotals::from_words(core::iter::repeat_n(1, WORDS + 100));
    assert_eq!(totals.words(), &[1; WORDS]);
    assert_eq!(totals.commands(), command::COMMANDS as u64, "one of each");
}
