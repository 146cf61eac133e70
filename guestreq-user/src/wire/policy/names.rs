//! # Values with names
//!
//! Modes, backends and message types are numbers in BPF maps; in files, JSON, metrics and on the
//! command line they are names.

use std::{fmt, marker::PhantomData, str::FromStr};

use guestreq_common::{
    message::MessageType,
    policy::{AfterDenial, Allowed, Backend, Mode},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An enum with names.
pub trait Name: Copy + PartialEq + 'static {
    const WHAT: &'static str;
    const ALL: &'static [Self];
    fn name(self) -> &'static str;
}

impl Name for Mode {
    const WHAT: &'static str = "mode";
    const ALL: &'static [Mode] = &Mode::ALL;
    fn name(self) -> &'static str {
        Mode::name(self)
    }
}

impl Name for Backend {
    const WHAT: &'static str = "backend";
    const ALL: &'static [Backend] = &Backend::ALL;
    fn name(self) -> &'static str {
        Backend::name(self)
    }
}

impl Name for AfterDenial {
    const WHAT: &'static str = "response to a denied type";
    const ALL: &'static [AfterDenial] = &AfterDenial::ALL;
    fn name(self) -> &'static str {
        AfterDenial::name(self)
    }
}

/// Includes `unknown`: the numbers of responses and those that no specification lists.
impl Name for MessageType {
    const WHAT: &'static str = "message type";
    const ALL: &'static [MessageType] = &MessageType::ALL;
    fn name(self) -> &'static str {
        MessageType::name(self)
    }
}

/// A value that is parsed and serialized as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<T>(pub T);

impl<T: Name> fmt::Display for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl<T: Name> FromStr for Named<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = T::ALL.iter().find(|value| value.name() == text);
        found.map(|value| Named(*value)).ok_or_else(|| {
            let names: Vec<_> = T::ALL.iter().map(|value| value.name()).collect();
            let names = names.join(", ");
            format!("unknown {} {text:?}: there are {names}", T::WHAT)
        })
    }
}

impl<T: Name> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.name())
    }
}

impl<'de, T: Name> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<T: Name> de::Visitor<'_> for Visitor<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let names: Vec<_> =
                    T::ALL.iter().map(|value| format!("{:?}", value.name())).collect();
                write!(f, "a {}: {}", T::WHAT, names.join(", "))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Named<T>, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_str(Visitor(PhantomData))
    }
}

/// A set of message types: a list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types(pub Allowed);

impl Types {
    pub fn iter(self) -> impl Iterator<Item = MessageType> {
        MessageType::ALL.into_iter().filter(move |kind| self.0.has(*kind))
    }
}

impl FromIterator<MessageType> for Types {
    fn from_iter<I: IntoIterator<Item = MessageType>>(kinds: I) -> Types {
        Types(kinds.into_iter().fold(Allowed::NONE, |set, kind| set.with(kind, true)))
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(MessageType::name).collect();
        f.write_str(if names.is_empty() { "nothing" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}

impl Serialize for Types {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter().map(MessageType::name))
    }
}

impl<'de> Deserialize<'de> for Types {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Types;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of message types, such as [\"report\", \"key\"]")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut all: A) -> Result<Types, A::Error> {
                let mut types = Types(Allowed::NONE);
                while let Some(Named(kind)) = all.next_element()? {
                    types.0 = types.0.with(kind, true);
                }
                Ok(types)
            }
        }
        from.deserialize_seq(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_its_value() {
        for kind in MessageType::ALL {
            assert_eq!(kind.name().parse(), Ok(Named(kind)));
        }
        assert_eq!("enforce".parse(), Ok(Named(Mode::Enforce)));
        assert_eq!("vcpu".parse(), Ok(Named(Backend::Vcpu)));
    }

    #[test]
    fn the_error_for_an_unknown_name_lists_all_names() {
        let error = "Report".parse::<Named<MessageType>>().unwrap_err();
        assert!(error.starts_with("unknown message type \"Report\": there are cpuid, key, report"));
        assert!(error.ends_with("unknown"), "{error}");
        let error = "on".parse::<Named<Mode>>().unwrap_err();
        assert_eq!(error, "unknown mode \"on\": there are observe, audit, enforce");
    }

    #[test]
    fn a_set_of_types_is_a_list_of_names() {
        let types: Types = serde_json::from_str(r#"["report","key","report"]"#).unwrap();
        assert_eq!(types.to_string(), "key, report");
        assert_eq!(serde_json::to_string(&types).unwrap(), r#"["key","report"]"#);
        assert_eq!(Types(Allowed::NONE).to_string(), "nothing");
    }
}
