//! # Enums with numbers and names
//!
//! Numbers index rows of pinned tables; names appear in metrics, JSON, configuration and on the
//! command line. Both are interfaces, so [`named_enum`] takes them literally: renaming a variant
//! changes neither.

/// An enum with `ALL`, its values by number, and `name`. Numbers count up from 0.
macro_rules! named_enum {
    ($(#[$attribute:meta])* pub enum $Enum:ident {
        $($(#[$doc:meta])* $Variant:ident = $number:literal => $name:literal,)+
    }) => {
        $(#[$attribute])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $Enum {
            $($(#[$doc])* $Variant = $number,)+
        }

        impl $Enum {
            /// Each value at the index that is its number.
            pub const ALL: [$Enum; [$($number),+].len()] = {
                let all = [$($Enum::$Variant),+];
                let mut index = 0;
                while index < all.len() {
                    assert!(all[index] as usize == index);
                    index += 1;
                }
                all
            };

            /// The name that users see.
            pub const fn name(self) -> &'static str {
                match self {
                    $($Enum::$Variant => $name,)+
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::{
        command::Class,
        event::EventKind,
        ghcb::GuestStatus,
        host::Loss,
        message::MessageType,
        policy::{AfterDenial, Backend, Decision, Mode},
        sequence::Anomaly,
    };

    fn assert_distinct_words(names: impl IntoIterator<Item = &'static str>) {
        let mut seen = BTreeSet::new();
        for name in names {
            let is_word = |name: &str| name.chars().all(|c| c == '_' || c.is_ascii_lowercase());
            assert!(!name.is_empty() && is_word(name), "{name:?} is no word");
            assert!(seen.insert(name), "two are called {name}");
        }
    }

    #[test]
    fn names_are_distinct_words() {
        assert_distinct_words(Class::ALL.map(Class::name));
        assert_distinct_words(EventKind::ALL.map(EventKind::name));
        assert_distinct_words(GuestStatus::ALL.map(GuestStatus::name));
        assert_distinct_words(Loss::ALL.map(Loss::name));
        assert_distinct_words(MessageType::ALL.map(MessageType::name));
        assert_distinct_words(Mode::ALL.map(Mode::name));
        assert_distinct_words(Backend::ALL.map(Backend::name));
        assert_distinct_words(AfterDenial::ALL.map(AfterDenial::name));
        assert_distinct_words(Decision::ALL.map(Decision::name));
        assert_distinct_words(Anomaly::ALL.map(Anomaly::name));
    }
}
