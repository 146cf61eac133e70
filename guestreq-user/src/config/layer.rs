//! # One file of the configuration
//!
//! Its keys, all optional, and its errors by line and column.

use std::{net::SocketAddr, ops::Range, path::PathBuf, time::Duration};

use guestreq_common::policy::{AfterDenial, Backend};
use serde::Deserialize as _;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    keys::{Keys, POLICY},
    order::OrderSwitch,
    place::{ConfigError, Lines},
};
use crate::policy::{Located, LocatedRule, Named, PolicyFile, Source};

/// A file's settings.
#[derive(Debug)]
pub struct Layer {
    pub backend: Option<Named<Backend>>,
    pub vcpu_denied: Option<Named<AfterDenial>>,
    pub policy: PolicyFile,
    pub order: Option<Named<OrderSwitch>>,
    pub state: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
    pub socket: Option<PathBuf>,
    pub socket_group: Option<String>,
    pub max_vms: Option<u32>,
    pub keep_exited_vms: Option<Duration>,
    pub slow_request: Option<Duration>,
    pub nfd_file: Option<PathBuf>,
    /// Keys that are not policy, sorted.
    pub others: Vec<(String, Source)>,
}

/// Most errors reported of one file.
const MAX_FAULTS: usize = 20;

impl Layer {
    /// Parses a file, or returns its errors.
    pub fn parse(name: &str, text: &str) -> Result<Layer, Vec<ConfigError>> {
        // Nothing can be checked after a syntax error.
        let table = DeTable::parse(text).map_err(|error| vec![ConfigError::of(&error, text)])?;
        let lines = Lines::of(text);
        let source = |span: Range<usize>| Source {
            file: name.to_owned(),
            line: lines.place(text, span.start).0,
        };
        let others = table.get_ref().keys().filter(|key| !POLICY.contains(&&**key.get_ref()));
        let others = others.map(|key| (key.get_ref().to_string(), source(key.span()))).collect();
        let keys = keys(table, text)?;
        fn located<T>(
            spanned: Option<Spanned<T>>,
            source: impl Fn(Range<usize>) -> Source,
        ) -> Option<Located<T>> {
            spanned
                .map(|spanned| Located { at: source(spanned.span()), value: spanned.into_inner() })
        }
        let limit = located(keys.limit, source);
        let rules = keys
            .rules
            .into_iter()
            .map(|rule| LocatedRule { at: source(rule.span()), rule: rule.into_inner().into() });
        Ok(Layer {
            backend: keys.backend,
            vcpu_denied: keys.vcpu_denied,
            policy: PolicyFile {
                rules: rules.collect(),
                mode: located(keys.mode, source),
                allow: located(keys.allow, source),
                limit: limit.map(|Located { value, at }| Located { value: value.0, at }),
                weight: located(keys.weight, source),
            },
            order: keys.order,
            state: keys.state,
            listen: keys.listen,
            socket: keys.socket,
            socket_group: keys.socket_group,
            max_vms: keys.max_vms,
            keep_exited_vms: keys.keep_exited_vms,
            slow_request: keys.slow_request,
            nfd_file: keys.nfd_file,
            others,
        })
    }
}

/// The keys of a table. Removes erroneous entries until the rest is valid, to find all errors.
fn keys(mut table: Spanned<DeTable<'_>>, text: &str) -> Result<Keys, Vec<ConfigError>> {
    let mut faults = Vec::new();
    loop {
        let error = match Keys::deserialize(toml::de::Deserializer::from(table.clone())) {
            Ok(keys) if faults.is_empty() => return Ok(keys),
            Ok(_) => break,
            Err(error) => error,
        };
        faults.push(ConfigError::of(&error, text));
        let at = error.span().map(|span| span.start);
        let removed = at.is_some_and(|at| remove(table.get_mut(), at));
        if !removed || faults.len() == MAX_FAULTS {
            break;
        }
    }
    faults.sort_by_key(|fault| (fault.line, fault.column));
    Err(faults)
}

/// Removes the entry at this offset: a key, a rule's key, or a rule.
fn remove(table: &mut DeTable<'_>, at: usize) -> bool {
    let found = table.iter().find(|(key, value)| has(&key.span(), at) || within(value, at));
    let Some(key) = found.map(|(key, _)| key.clone()) else { return false };
    if let Some(DeValue::Array(array)) = table.get_mut(&key).map(Spanned::get_mut)
        && key.get_ref() == "vm"
        && let Some(index) = array.iter().position(|rule| within(rule, at))
    {
        let rule = array.get_mut(index).map(Spanned::get_mut);
        if let Some(DeValue::Table(rule)) = rule {
            // A rule needs its match: then the whole rule is removed.
            let found = rule.iter().find(|(key, value)| {
                key.get_ref() != "match" && (has(&key.span(), at) || within(value, at))
            });
            if let Some(key) = found.map(|(key, _)| key.clone()) {
                return rule.remove(&key).is_some();
            }
        }
        let rules = std::mem::replace(array, DeArray::new()).into_iter().enumerate();
        *array = rules.filter(|(i, _)| *i != index).map(|(_, rule)| rule).collect();
        return true;
    }
    table.remove(&key).is_some()
}

fn has(span: &Range<usize>, at: usize) -> bool {
    span.contains(&at) || span.start == at
}

/// Whether a value has this offset. A `[table]`'s span is only its header.
fn within(value: &Spanned<DeValue<'_>>, at: usize) -> bool {
    has(&value.span(), at)
        || match value.get_ref() {
            DeValue::Array(array) => array.iter().any(|value| within(value, at)),
            DeValue::Table(table) => {
                table.iter().any(|(key, value)| has(&key.span(), at) || within(value, at))
            }
            _ => false,
        }
}

#[cfg(test)]
mod tests;
