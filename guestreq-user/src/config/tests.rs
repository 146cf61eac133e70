use super::*;

use crate::policy::Limit;

fn error(text: &str) -> String {
    let error = format!("{:#}", Config::parse(text).unwrap_err());
    error.strip_prefix("config.toml: ").unwrap().to_owned()
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(Config::parse("").unwrap(), Config::default());
}

#[test]
fn every_key_can_be_set() {
    let config = Config::parse(
        "listen = \"0.0.0.0:1234\"\nsocket = \"/tmp/s\"\nsocket_group = \"ops\"\nmax_vms = 7\n\
         keep_exited_vms = \"10s\"\nslow_request = \"250ms\"\nstate = \"/tmp\"\norder = \"off\"\n",
    )
    .unwrap();
    assert_eq!(config.listen, ([0, 0, 0, 0], 1234).into());
    assert_eq!(config.max_vms, 7);
    assert_eq!(config.order(), Some(OrderSwitch::Off));
    assert_eq!(config.socket_group.as_deref(), Some("ops"));
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
    let config = config.unwrap();
    assert_eq!(config.backend, Named(Backend::Vcpu));
    let policy_file = config.policy;
    assert_eq!(policy_file.allow.unwrap().value.to_string(), "report, unknown");
    let limit = policy_file.limit.unwrap();
    assert_eq!((limit.value.to_string().as_str(), limit.at.line), ("5/s, burst 10", 4));
    assert_eq!(policy_file.rules[0].rule.limit, Some(Limit::Off));
    assert_eq!(policy_file.rules[0].rule.mode, None);
    assert_eq!(policy_file.rules[0].at.to_string(), "config.toml:5");
    assert_eq!(policy_file.rules[1].rule.limit.unwrap().to_string(), "1/m, burst 1");
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

/// A configuration of these files; the first is the main one.
fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let main = folder.path().join("config.toml");
    (folder, main)
}

#[test]
fn of_two_files_the_later_one_counts_for_keys_and_rules_alike() {
    let web = "[[vm]]\nmatch = { name = \"web-*\" }\n";
    let (_folder, main) = folder(&[
        (
            "config.toml",
            &format!(
                "max_vms = 7\nmode = \"audit\"\nallow = []\n{web}limit = \"off\"\n{web}mode = \"audit\""
            ),
        ),
        ("conf.d/20.toml", &format!("mode = \"observe\"\n{web}mode = \"enforce\"")),
        ("conf.d/10.toml", "mode = \"enforce\"\nsocket = \"/s\""),
        ("conf.d/30.toml.bak", "no toml"),
        ("conf.d/.40.toml", "no toml"),
    ]);
    let config = Config::load(Some(&main)).unwrap();
    let names: Vec<_> = config.files.iter().map(|path| path.file_name().unwrap()).collect();
    assert_eq!(names, ["config.toml", "10.toml", "20.toml"]);
    assert_eq!((config.max_vms, config.socket), (7, PathBuf::from("/s")));
    let mode = config.policy.mode.unwrap();
    assert_eq!(mode.value.to_string(), "observe");
    assert!(mode.at.to_string().ends_with("conf.d/20.toml:1"), "{}", mode.at);
    let rules: Vec<_> = config.policy.rules.iter().map(|placed| placed.at.to_string()).collect();
    assert!(rules[0].ends_with("20.toml:2"), "{rules:?}");
    assert!(rules[1].ends_with("config.toml:4") && rules[2].ends_with("config.toml:7"));
}

#[test]
fn an_error_names_its_file_and_what_more_is_wrong() {
    let (_folder, main) = folder(&[
        ("config.toml", ""),
        ("conf.d/10.toml", "mode = \"on\"\n\nlimits = 1\nmax_vms = 0\n"),
    ]);
    let error = format!("{:#}", Config::load(Some(&main)).unwrap_err());
    assert!(error.contains("conf.d/10.toml: line 1, column 8: unknown mode \"on\""), "{error}");
    assert!(error.ends_with("; and 2 more (guestreq policy check)"), "{error}");
    let (_folder, main) = folder(&[
        ("config.toml", "backend = \"none\""),
        ("conf.d/10.toml", "\n[[vm]]\nmatch = { name = \"a\" }\nmode = \"enforce\"\n"),
    ]);
    let error = format!("{:#}", Config::load(Some(&main)).unwrap_err());
    assert!(
        error.contains("conf.d/10.toml: line 4, column 8: the rule for name = \"a\""),
        "{error}"
    );
}

/// Unless a file has the key, the gate's parameter is left alone.
#[test]
fn the_order_is_what_the_last_file_that_has_the_key_says() {
    assert_eq!(Config::parse("").unwrap().order(), None);
    let order = |first: &str, second: &str| {
        let (_folder, main) = folder(&[("config.toml", first), ("conf.d/10.toml", second)]);
        Config::load(Some(&main)).unwrap().order()
    };
    let (on, off) = ("order = \"on\"", "order = \"off\"");
    assert_eq!(order(off, ""), Some(OrderSwitch::Off));
    assert_eq!(order(off, on), Some(OrderSwitch::On));
    assert_eq!(order(on, off), Some(OrderSwitch::Off));
}

#[test]
fn what_only_a_start_reads_is_named() {
    let config = |text| Config::parse(text).unwrap();
    let running = config("");
    let now = "mode = \"observe\"\nslow_request = \"2s\"\norder = \"off\"";
    assert!(config(now).pending(&running).is_empty());
    let other =
        "backend = \"vcpu\"\nvcpu_denied = \"stop\"\nlisten = \"127.0.0.1:1\"\nstate = \"/s\"";
    let pending = ["backend", "listen", "state", "vcpu_denied"];
    assert_eq!(config(other).pending(&running), pending);
}
