//! # JSON Schemas of values
//!
//! For the schemas of files (config/schema.rs). They never refuse what a parser accepts, but for
//! U+0085 in a time: schemas do not count it as white space. Most keywords of a schema apply to
//! values of one type only: where a value may have several types, they stand side by side instead of
//! in an `anyOf`, of which editors only report that nothing in it matches. Nor does a key have an
//! `allOf`, beside which taplo ignores its description.

use std::borrow::Cow;

use guestreq_common::{
    gate,
    gcra::{MAX_BURST, MIN_INTERVAL_NS},
    message::MessageType,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::{Glob, Limit, Name, Named, Rate, Share, Types, Weight, limit::Table, rate::UNITS};

/// Of humantime: `5m`, `1h 30min`, `1.5s`.
pub const TIME: &str = r"^(0|\s*([0-9][0-9\s]*(\.[0-9\s]*[0-9][0-9\s]*)?(ns|nsec|nanos|us|usec|µs|ms|msec|millis|s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hr|hrs|hour|hours|d|day|days|w|wk|wks|week|weeks|M|month|months|y|yr|yrs|year|years)\s*)+)$";

const SHARE: &str = r"^[0-9]+(\.[0-9]+)?%$";
/// From 0.01% to 100%, with at most four digits behind the point that are not trailing zeros.
const SHARES: &str =
    r"^(0*([1-9][0-9]?(\.[0-9]{1,4}0*)?|100(\.0+)?)|0+\.([1-9][0-9]{0,3}|0[1-9][0-9]{0,2})0*)%$";

/// Implements `JsonSchema` by an expression.
macro_rules! schema_of {
    ($type:ident, $schema:expr) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                $schema(generator)
            }
        }
    };
}

impl<T: Name> JsonSchema for Named<T> {
    fn schema_name() -> Cow<'static, str> {
        T::WHAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = T::ALL.iter().map(|value| value.name()).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

schema_of!(Types, |generator: &mut SchemaGenerator| {
    let one = generator.subschema_for::<Named<MessageType>>();
    json_schema!({ "type": "array", "items": one })
});
schema_of!(Glob, |_: &mut _| json_schema!({ "type": "string", "minLength": 1 }));
schema_of!(Weight, |_: &mut _| {
    let (least, most) = (gate::Weight::DEFAULT.get(), gate::Weight::MAX);
    json_schema!({ "type": "integer", "minimum": least, "maximum": most })
});
schema_of!(Share, |_: &mut _| {
    json_schema!({
        "type": "string", "pattern": SHARE,
        "if": { "pattern": SHARE },
        "then": { "pattern": SHARES },
    })
});
schema_of!(Rate, |_: &mut _| {
    json_schema!({
        "type": "string", "pattern": rate(),
        "if": { "pattern": rate() },
        "then": { "pattern": rates(), "not": { "pattern": "^[0.]+/" } },
    })
});
schema_of!(Limit, |generator: &mut SchemaGenerator| {
    let mut limit = Table::json_schema(generator);
    limit.insert("type".to_owned(), json!(["string", "object"]));
    limit.insert("pattern".to_owned(), json!("^off$"));
    limit.insert("if".to_owned(), json!({ "type": "object", "not": { "required": ["rate"] } }));
    limit.insert("then".to_owned(), json!({ "required": ["share"] }));
    let burst =
        json!({ "allOf": [burst_needs("integer", "rate"), burst_needs("string", "share")] });
    limit.insert("dependencies".to_owned(), json!({ "burst": burst }));
    limit
});

/// A burst of a type belongs to this key.
fn burst_needs(of: &str, key: &str) -> Value {
    let has = json!({ "anyOf": [
        { "type": of },
        { "type": "array", "contains": { "type": of } },
    ] });
    json!({ "if": { "properties": { "burst": has } }, "then": { "required": [key] } })
}

/// One burst, or one of each kind.
pub fn bursts(_: &mut SchemaGenerator) -> Schema {
    let two = |of: &str| json!({ "not": { "items": { "type": of }, "minItems": 2 } });
    let one = [("minimum", json!(1)), ("maximum", json!(MAX_BURST)), ("pattern", json!(TIME))];
    let mut items = json_schema!({ "type": ["integer", "string"] });
    let mut bursts = json_schema!({
        "type": ["integer", "string", "array"],
        "maxItems": 2,
        "if": { "type": "array" },
        "then": { "allOf": [two("integer"), two("string")] },
    });
    for (keyword, value) in one {
        items.insert(keyword.to_owned(), value.clone());
        bursts.insert(keyword.to_owned(), value);
    }
    bursts.insert("items".to_owned(), items.into());
    bursts
}

/// Digits and points before a unit, as f64 reads them.
fn rate() -> String {
    format!(r"^([0-9]+\.?[0-9]*|\.[0-9]+)/({})$", UNITS.map(|(unit, _)| names(unit)).join("|"))
}

/// Rates up to the highest. The lowest of `s` and `m` has no end in decimals.
fn rates() -> String {
    let of =
        |(unit, ns): (&str, u64)| format!("{}/({})", at_most(ns / MIN_INTERVAL_NS), names(unit));
    format!("^0*({})$", UNITS.map(of).join("|"))
}

/// A unit's names.
fn names(unit: &str) -> &str {
    if unit == "m" { "m|min" } else { unit }
}

/// A number up to this one, without leading zeros; behind the point anything.
fn at_most(max: u64) -> String {
    let digits = max.to_string();
    let mut numbers = vec![format!("[0-9]{{0,{}}}", digits.len() - 1), digits.clone()];
    for (at, digit) in digits.bytes().map(|byte| byte - b'0').enumerate() {
        let (lowest, behind) = (u8::from(at == 0), digits.len() - at - 1);
        if digit > lowest {
            numbers.push(format!("{}[{lowest}-{}][0-9]{{{behind}}}", &digits[..at], digit - 1));
        }
    }
    format!(r"({})(\.[0-9]*)?", numbers.join("|"))
}

mod tests;
