//! # Values of keys, and what their errors say
//!
//! An error says what is allowed, in the words of the file and not of the parser.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserializer, de};
use toml::Spanned;

use crate::policy::FileRule;

pub const MAX_VMS: u32 = 65_536;

/// The kernel's sockaddr_un has 108 bytes, with a zero at the end (unix(7)).
const MAX_SOCKET_BYTES: usize = 107;

const TIME: &str = "a time such as \"5m\" or \"800ms\"";

pub fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    text(from, TIME, |text| {
        humantime::parse_duration(text).map_err(|error| format!("{error}: {TIME}"))
    })
}

pub fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let what = "an IP address and a port, such as \"127.0.0.1:9940\" or \"[::1]:9940\"";
    text(from, what, |text| text.parse().map_err(|_| format!("{text:?} is not {what}")))
}

pub fn group<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    text(from, "a group's name or ID in quotes", |text| Ok(text.to_owned()))
}

pub fn folder<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let what = "the absolute path of a folder";
    text(from, what, |text| match text.starts_with('/') {
        true => Ok(PathBuf::from(text)),
        false => Err(format!("{text:?} is not {what}")),
    })
}

/// Commands read it, too, in folders of their own.
pub fn socket<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let what = "the absolute path of a socket";
    text(from, what, |text| match text.len() {
        _ if !text.starts_with('/') || text.ends_with('/') => {
            Err(format!("{text:?} is not {what}"))
        }
        ..=MAX_SOCKET_BYTES => Ok(PathBuf::from(text)),
        bytes => {
            Err(format!("{text:?} has {bytes} bytes; a socket's path can have {MAX_SOCKET_BYTES}"))
        }
    })
}

/// nfd ignores files whose names begin with a dot.
pub fn nfd_file<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let what = "the absolute path of a file whose name does not begin with a dot";
    text(from, what, |text| {
        let name = text.rsplit('/').next().unwrap_or_default();
        match text.starts_with('/') && !name.is_empty() && !name.starts_with('.') {
            true => Ok(PathBuf::from(text)),
            false => Err(format!("{text:?} is not {what}")),
        }
    })
}

/// A text that `read` accepts.
fn text<'de, D: Deserializer<'de>, T>(
    from: D,
    what: &'static str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    struct Visitor<F>(&'static str, F);
    impl<T, F: FnOnce(&str) -> Result<T, String>> de::Visitor<'_> for Visitor<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).map_err(E::custom)
        }
    }
    from.deserialize_str(Visitor(what, read)).map(Some)
}

pub fn max_vms<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = u32;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a number of VMs from 1 to {MAX_VMS}")
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<u32, E> {
            let allowed = u32::try_from(number).ok().filter(|n| (1..=MAX_VMS).contains(n));
            allowed.ok_or_else(|| E::custom(format!("{number} VMs: allowed are 1 to {MAX_VMS}")))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<u32, E> {
            // All that it can be is too many.
            self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
        }
    }
    from.deserialize_i64(Visitor).map(Some)
}

pub fn rules<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Spanned<FileRule>>, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Vec<Spanned<FileRule>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("[[vm]] tables")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
            let mut rules = Vec::new();
            while let Some(rule) = all.next_element()? {
                rules.push(rule);
            }
            Ok(rules)
        }
    }
    from.deserialize_seq(Visitor)
}
