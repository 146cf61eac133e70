use proptest::prelude::*;

use super::*;

fn faults(text: &str) -> Vec<String> {
    Layer::parse("f", text).unwrap_err().iter().map(ConfigError::to_string).collect()
}

#[test]
fn all_errors_are_reported_at_once() {
    let text = "mode = \"on\"\n\
                limit = { rate = \"5\" }\n\
                modee = 1\n\
                [[vm]]\n\
                match = { name = \"a\" }\n\
                mode = \"off\"\n\
                limits = 3\n\
                [[vm]]\n\
                mode = \"audit\"\n\
                [[vm]]\n\
                match = { nam = \"b\" }\n\
                allow = [\"rep\"]\n";
    let faults = faults(text);
    let starts = [
        "line 1, column 8: unknown mode \"on\"",
        "line 2, column 18: ",
        "line 3, column 1: unknown field `modee`",
        "line 6, column 8: unknown mode \"off\"",
        "line 7, column 1: unknown field `limits`",
        "line 8, column 1: missing field `match`",
        "line 11, column 11: unknown field `nam`",
        "line 12, column 10: unknown message type \"rep\"",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:#?}");
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}, not {start}");
    }
}

#[test]
fn a_syntax_error_is_reported_at_its_place() {
    let faults = faults("mode = \"audit\"\nallow = [\"report\"\n");
    assert_eq!(faults, ["line 2, column 18: unclosed array, expected `]`"]);
}

#[test]
fn an_error_is_one_short_line_without_escape_sequences() {
    let long = "x".repeat(100_000);
    for text in ["\"a\\u001b[31m\\n\" = 1".to_owned(), format!("mode = \"{long}\""), long.clone()] {
        let faults = faults(&text);
        assert!(faults[0].len() < 800 && !faults[0].chars().any(char::is_control), "{faults:?}");
    }
    let many = faults(&"a = 1\n".repeat(2)).len() + faults(&"[[vm]]\n".repeat(1000)).len();
    assert!(many <= 2 + MAX_FAULTS, "{many}");
}

#[test]
fn keys_that_are_not_policy_are_listed() {
    let layer = Layer::parse("f", "mode = \"audit\"\nstate = \"/s\"\nvm = []\nlisten = \"[::]:1\"");
    let layer = layer.unwrap();
    let others: Vec<_> = layer.others.iter().map(|(key, at)| format!("{key} {at}")).collect();
    assert_eq!(others, ["listen f:4", "state f:2"]);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text: String) {
        let _ = Layer::parse("f", &text);
    }

    /// Of nearly valid text as well.
    #[test]
    fn no_mixture_of_keys_makes_it_panic(words in proptest::collection::vec(
        prop_oneof![
            Just("mode = "), Just("\"enforce\""), Just("\n"), Just("[[vm]]\n"), Just("match = "),
            Just("{ name = \"a\" }"), Just("limit = "), Just("{ rate = \"5/s\" }"), Just("vm = "),
            Just("[{ mode = 3 }]"), Just("[limit]\n"), Just("rate = 5\n"), Just("x = 1\n"),
            Just("allow = [\"report\", 3]"), Just("vm.match = 1\n"), Just("[vm]\n"), Just(","),
        ],
        0..12,
    )) {
        let text = words.concat();
        if let Err(faults) = Layer::parse("f", &text) {
            prop_assert!(!faults.is_empty() && faults.len() <= MAX_FAULTS);
            prop_assert!(faults.iter().all(|fault| fault.line >= 1 && fault.column >= 1));
        }
    }
}

#[test]
fn an_offset_is_in_what_it_begins_even_if_that_is_empty_and_not_behind_it() {
    assert!(has(&(2..5), 2) && has(&(2..5), 4) && has(&(2..2), 2));
    assert!(!has(&(2..5), 1) && !has(&(2..5), 5) && !has(&(2..2), 3));
}
