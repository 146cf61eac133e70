use std::sync::LazyLock;

use jsonschema::Validator;
use proptest::prelude::*;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;

use super::*;

/// What a value's schema and its parser say.
struct Both {
    schema: Validator,
    parse: fn(&Value) -> bool,
}

impl Both {
    fn of<T: JsonSchema + DeserializeOwned>() -> Both {
        let settings = SchemaSettings::draft07().with(|set| set.inline_subschemas = true);
        let schema = settings.into_generator().into_root_schema_for::<T>();
        let schema = jsonschema::draft7::new(schema.as_value()).unwrap();
        Both { schema, parse: |value| T::deserialize(value).is_ok() }
    }

    fn say(&self, value: &Value) -> (bool, bool) {
        (self.schema.is_valid(value), (self.parse)(value))
    }

    /// Whatever is parsed is valid.
    fn never_refuses(&self, value: &Value) -> Result<(), TestCaseError> {
        let (schema, parser) = self.say(value);
        prop_assert!(schema || !parser, "the schema refuses {value}, which is parsed");
        Ok(())
    }
}

#[test]
fn bounds_are_those_of_the_parsers() {
    let cases: [(&Both, &[Value], &[Value]); 3] = [
        (
            &SHARES,
            &["0.01%", "0.0100%", "00.5%", "1.00000%", "99.9999%", "0100.00%"].map(Value::from),
            &["0.0099%", "0%", "100.0001%", "101%", "1.00001%", "1.%", ".5%", "10", "10 %"]
                .map(Value::from),
        ),
        (
            &RATES,
            &["5/s", ".5/s", "5./m", "1000000/s", "60000000/min", "3600000000/h", "001/h"]
                .map(Value::from),
            &["0/s", "0.0/m", "1000001/s", "60000001/m", "3600000001/h", "5/fortnight", "./s", "5"]
                .map(Value::from),
        ),
        (&WEIGHTS, &[json!(1), json!(255)], &[json!(0), json!(256), json!(-1), json!("4")]),
    ];
    for (both, valid, invalid) in cases {
        for value in valid {
            assert_eq!(both.say(value), (true, true), "{value}");
        }
        for value in invalid {
            assert_eq!(both.say(value), (false, false), "{value}");
        }
    }
}

/// A duration as [`crate::config`] reads it.
#[derive(serde::Deserialize)]
#[serde(try_from = "String")]
struct Time;

impl TryFrom<String> for Time {
    type Error = humantime::DurationError;

    fn try_from(text: String) -> Result<Time, Self::Error> {
        humantime::parse_duration(&text).map(|_| Time)
    }
}

schema_of!(Time, |_: &mut _| json_schema!({ "type": "string", "pattern": TIME }));

static SHARES: LazyLock<Both> = LazyLock::new(Both::of::<Share>);
static RATES: LazyLock<Both> = LazyLock::new(Both::of::<Rate>);
static TIMES: LazyLock<Both> = LazyLock::new(Both::of::<Time>);
static WEIGHTS: LazyLock<Both> = LazyLock::new(Both::of::<Weight>);
static LIMITS: LazyLock<Both> = LazyLock::new(Both::of::<Limit>);

/// docs/policy.md shows what an editor says.
#[test]
fn the_documented_error_is_current() {
    let page = std::fs::read_to_string(crate::docs::root().join("docs/policy.md")).unwrap();
    let error = format!("error: \"5/fortnight\" does not match \"{}\"", rate());
    assert!(page.contains(&error), "{error}");
}

/// Another version of humantime may have others.
#[test]
fn units_of_times_are_those_that_are_parsed() {
    let letters: Vec<String> =
        ('a'..='z').chain('A'..='Z').chain(['µ']).map(String::from).collect();
    let longer = |words: &[String]| -> Vec<String> {
        words
            .iter()
            .flat_map(|word| letters.iter().map(move |letter| format!("{word}{letter}")))
            .collect()
    };
    let (two, three) = (longer(&letters), longer(&longer(&letters)));
    let described = TIME.split(|c: char| !c.is_alphabetic()).map(str::to_owned);
    let mut units = 0;
    for unit in letters.iter().cloned().chain(two).chain(three).chain(described) {
        let (schema, parser) = TIMES.say(&format!("1{unit}").into());
        assert_eq!(schema, parser, "{unit:?}");
        units += usize::from(parser);
    }
    assert!(units > 30, "only {units}");
}

/// A name that a later version adds is in the schema without further ado.
#[test]
fn an_enum_that_grows_is_in_its_schema() {
    #[derive(Clone, Copy, PartialEq)]
    struct Grown(&'static str);
    impl Name for Grown {
        const WHAT: &'static str = "message type";
        const ALL: &'static [Grown] = &[Grown("report"), Grown("later_type")];
        fn name(self) -> &'static str {
            self.0
        }
    }
    let grown = Both::of::<Named<Grown>>();
    assert_eq!(grown.say(&json!("later_type")), (true, true));
    assert_eq!(grown.say(&json!("report")), (true, true), "older files stay valid");
    assert_eq!(Both::of::<Named<MessageType>>().say(&json!("later_type")), (false, false));
}

proptest! {
    #[test]
    fn a_share_s_schema_says_what_its_parser_says(
        text in "[0-9]{0,4}(\\.[0-9]{0,6})?%?|0?0\\.0{0,3}[0-9]{0,3}%|.{0,5}",
    ) {
        let (schema, parser) = SHARES.say(&text.clone().into());
        prop_assert_eq!(schema, parser, "{}", text);
    }

    #[test]
    fn no_schema_refuses_what_is_parsed(
        rate in "[0-9]{0,10}\\.?[0-9]{0,5}/(s|m|min|h|d)|.{0,5}",
        time in "( ?[0-9]{1,3}(\\.[0-9]{1,3})? ?(ns|us|µs|ms|s|secs|m|min|h|hrs|d|M|y|x))|[ -~]{0,5}",
        number in -2..2_000_000_i64,
    ) {
        RATES.never_refuses(&rate.clone().into())?;
        TIMES.never_refuses(&time.clone().into())?;
        WEIGHTS.never_refuses(&number.into())?;
        for burst in [json!(number), json!(time), json!([number, time]), json!([time, number])] {
            for limit_of in [json!({ "rate": rate, "burst": burst }),
                json!({ "share": "5%", "burst": burst }),
                json!({ "rate": "5/s", "share": "5%", "burst": burst, "force": true })]
            {
                LIMITS.never_refuses(&limit_of)?;
            }
        }
    }
}
