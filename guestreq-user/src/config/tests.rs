use super::*;

fn error(text: &str) -> String {
    format!("{:#}", Config::parse(text).unwrap_err())
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(Config::parse("").unwrap(), Config::default());
}

#[test]
fn every_key_can_be_set() {
    let config = Config::parse(
        "listen = \"0.0.0.0:1234\"\nsocket = \"/tmp/s\"\nmax_vms = 7\n\
         keep_exited_vms = \"10s\"\nslow_request = \"250ms\"\nstate = \"/tmp\"\n",
    )
    .unwrap();
    assert_eq!(config.listen, ([0, 0, 0, 0], 1234).into());
    assert_eq!(config.max_vms, 7);
    assert_eq!(config.keep_exited_vms, Duration::from_secs(10));
    assert_eq!(config.slow_request, Duration::from_millis(250));
}

#[test]
fn policy_is_the_top_level_and_rules_for_vms() {
    let config = Config::parse(
        "mode = \"enforce\"\nbackend = \"vcpu\"\nallow = [\"report\", \"unknown\"]\n\
         limit = { rate = \"5/s\", burst = 10 }\n\
         [[vm]]\nmatch = { name = \"web-*\", vmm = \"qemu\" }\nlimit = \"off\"\n\
         [[vm]]\nmatch = { uuid = \"7a*\" }\nmode = \"observe\"\nallow = []\n\
         [vm.limit]\nrate = \"1/m\"\nburst = 1\nforce = true\n",
    );
    let file = config.unwrap().policy();
    assert_eq!(file.backend, Backend::Vcpu);
    assert_eq!(file.default.allow.unwrap().to_string(), "report, unknown");
    assert_eq!(file.default.limit.unwrap().to_string(), "5/s, burst 10");
    assert_eq!(file.rules[0].limit, Some(Limit::Off));
    assert_eq!(file.rules[0].mode, None);
    assert_eq!(file.rules[1].limit.unwrap().to_string(), "1/m, burst 1");
}

/// What the operator reads.
#[test]
fn what_is_wrong_in_a_policy_is_named_with_its_place() {
    let rule = "[[vm]]\nmatch = { name = \"a\" }\n";
    for (text, at, what) in [
        ("mode = \"on\"", "1, column 8", "unknown mode \"on\": there are observe, audit, enforce"),
        ("mode = 3", "1, column 8", "expected a mode: \"observe\", \"audit\", \"enforce\""),
        ("\nbackend = \"nun\"", "2, column 11", "there are none, gate, vcpu"),
        ("allow = [\"report\", \"rep\"]", "1, column 20", "unknown message type \"rep\""),
        ("allow = \"report\"", "1, column 9", "expected a sequence"),
        ("limit = \"of\"", "1, column 9", "expected \"off\", or a rate and a burst"),
        ("limit = { rate = \"5\" }", "1, column 18", "a number per s, m or h"),
        ("limit = { rate = \"0/s\" }", "1, column 18", "allowed are 1/h to 1000000/s"),
        ("limit = { rate = \"5/s\", burst = 0 }", "1, column 33", "a burst of 1 to 1048575"),
        ("limit = { rate = \"5/s\", per = 1 }", "1, column 25", "`rate`, `burst`, `force`"),
        ("limit = { rate = \"1/m\" }", "1, column 9", "allow at least 4.8/m, or force = true"),
        ("[[vm]]\nmode = \"audit\"", "1, column 1", "missing field `match`"),
        ("[[vm]]\nmatch = {}", "2, column 9", "an empty match says nothing"),
        ("[[vm]]\nmatch = { nam = \"x\" }", "2, column 11", "`name`, `uuid`, `namespace`"),
        (&format!("{rule}limits = 3"), "3, column 1", "`match`, `mode`, `allow`, `limit`"),
        ("mode = \"enforce\"\nbackend = \"none\"", "1, column 8", "the backend is none"),
        (
            &format!("backend = \"none\"\n{rule}mode = \"enforce\"\n"),
            "4, column 8",
            "the rule for name = \"a\" says enforce, but the backend is none",
        ),
    ] {
        let message = error(text);
        assert!(message.starts_with(&format!("line {at}: ")), "{text}: {message}");
        assert!(message.contains(what), "{text}: {message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_known_ones() {
    let message = error("max_vms = 3\n  lissten = \"127.0.0.1:1\"\n");
    assert!(message.starts_with("line 2, column 3: unknown field `lissten`"), "{message}");
    assert!(message.contains("`listen`"), "{message}");
    assert!(!message.contains('\n'), "{message}");
}

#[test]
fn a_bad_value_says_what_is_allowed() {
    assert!(error("max_vms = 0").contains("allowed are 1 to 65536"));
    assert!(error("keep_exited_vms = \"soon\"").contains("a time such as"));
    assert!(error("listen = \"here\"").contains("line 1"));
}

#[test]
fn a_missing_file_is_an_error_only_if_it_was_asked_for() {
    let path = Path::new("/nonexistent/guestreq.toml");
    assert!(format!("{:#}", Config::load(Some(path)).unwrap_err()).contains("nonexistent"));
}
