//! # Names that users see
//!
//! In metrics, on the command line, in configuration: words that stay, and that tell what they
//! name apart.

use std::collections::BTreeSet;

use crate::{command::Class, event, ghcb::Told, host::Loss, message, policy, sequence::Anomaly};

fn assert_tell_apart(names: impl IntoIterator<Item = &'static str>) {
    let mut seen = BTreeSet::new();
    for name in names {
        let is_word = |name: &str| name.chars().all(|c| c == '_' || c.is_ascii_lowercase());
        assert!(!name.is_empty() && is_word(name), "{name:?} is no word");
        assert!(seen.insert(name), "two are called {name}");
    }
}

#[test]
fn names_are_words_that_tell_what_they_name_apart() {
    assert_tell_apart(Class::ALL.map(Class::name));
    assert_tell_apart(event::Kind::ALL.map(event::Kind::name));
    assert_tell_apart(Told::ALL.map(Told::name));
    assert_tell_apart(Loss::ALL.map(Loss::name));
    assert_tell_apart(message::Kind::ALL.map(message::Kind::name));
    assert_tell_apart(policy::Mode::ALL.map(policy::Mode::name));
    assert_tell_apart(policy::Backend::ALL.map(policy::Backend::name));
    assert_tell_apart(policy::Decision::ALL.map(policy::Decision::name));
    assert_tell_apart(Anomaly::ALL.map(Anomaly::name));
}

/// What the records' numbers are counted by has the place of its name.
#[test]
fn a_number_is_its_place_among_all() {
    fn numbers<T: Copy, const N: usize>(all: [T; N], number: impl Fn(T) -> u8) {
        assert!(all.into_iter().map(number).eq(0..N as u8));
    }
    numbers(Class::ALL, |class| class as u8);
    numbers(event::Kind::ALL, |kind| kind as u8);
    numbers(Told::ALL, |told| told as u8);
    numbers(Loss::ALL, |loss| loss as u8);
    numbers(policy::Mode::ALL, |mode| mode as u8);
    numbers(policy::Backend::ALL, |backend| backend as u8);
    numbers(policy::Decision::ALL, |decision| decision as u8);
    numbers(Anomaly::ALL, |anomaly| anomaly as u8);
}
