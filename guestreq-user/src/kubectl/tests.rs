use std::ffi::OsString;

use super::{
    args::{Args, Selection, dns_name},
    verb::Verb,
    views::View,
};

fn args(line: &str) -> Result<Args, clap::Error> {
    Args::of(line.split_whitespace().map(OsString::from).collect())
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn options_of_the_plugin_may_stand_anywhere() {
    for line in [
        "vms --all-nodes -o json --context c -n snp",
        "--all-nodes --context=c -nsnp vms -o json",
        "vms -o json -n snp --all-nodes --context c",
    ] {
        let args = args(line).unwrap();
        assert_eq!(args.command, words("vms -o json"), "{line}");
        assert!(matches!(args.selection().unwrap(), Selection::AllNodes));
        let kubectl = args.kubectl();
        assert_eq!((kubectl.namespace.as_str(), kubectl.options), ("snp", words("--context=c")));
    }
    let set = args("limit set --vm prod/web-1 --share 10%").unwrap();
    assert_eq!(set.command, words("limit set --share 10%"));
    assert!(matches!(set.selection().unwrap(), Selection::Vm(vm) if vm == "prod/web-1"));
}

#[test]
fn what_follows_two_dashes_and_help_of_a_command_are_the_command_s() {
    let args = args("--node n7 -- events -n 5 --vm web").unwrap();
    assert_eq!(args.command, words("events -n 5 --vm web"));
    assert_eq!(super::tests::args("limit set --help").unwrap().command, words("limit set --help"));
    let help = super::tests::args("--help limit").unwrap_err();
    assert_eq!(help.kind(), clap::error::ErrorKind::DisplayHelp);
}

#[test]
fn contradictory_and_impossible_options_are_usage_errors() {
    for line in [
        "vms --node a --all-nodes",
        "vms --vm a/b --node a",
        "vms --all-nodes --vm a/b",
        "vms --all-nodes --parallel 0",
        "vms --all-nodes --parallel 10000",
        "vms --all-nodes --timeout 0s",
        "vms --all-nodes --timeout soon",
        "vms --node",
    ] {
        assert_eq!(args(line).err().map(|error| error.exit_code()), Some(2), "{line}");
    }
    for node in ["-A", "a,b", "a b", "A", "", "a=b", "..", "a\n"] {
        assert_eq!(dns_name(node), None, "{node:?}");
    }
    assert!(args("vms --node=a,metadata.name=b").unwrap().selection().is_err());
    assert_eq!(dns_name("ip-10-0-0-7.eu-west-1.compute.internal").unwrap().len(), 38);
}

#[test]
fn kubectl_gets_the_options_of_the_connection() {
    let line = "vms --kubeconfig k --context c --cluster d --user u --as a --as-group g --as-group h \
                -s https://x --certificate-authority f --tls-server-name t --token z --cache-dir e \
                --insecure-skip-tls-verify";
    let options = args(line).unwrap().kubectl().options;
    let wanted = "--kubeconfig=k --context=c --cluster=d --user=u --as=a --as-group=g --as-group=h \
                  --server=https://x --certificate-authority=f --tls-server-name=t --token=z \
                  --cache-dir=e --insecure-skip-tls-verify";
    assert_eq!(options, words(wanted));
}

#[test]
fn a_verb_is_known_by_the_agent_s_command_line() {
    let verb = |line: &str| Verb::of(&words(line));
    let set = verb("limit set --share 10%");
    assert_eq!(set.name, "limit set");
    assert!(set.takes("vm") && set.changes());
    assert!(verb("policy apply a.toml").changes() && verb("policy clear").changes());
    for reading in
        ["vms", "limit show", "policy show", "psp", "launches --all", "doctor", "condition"]
    {
        let verb = verb(reading);
        assert!(verb.is_known() && !verb.changes(), "{reading}");
        assert!(View::of(&verb).is_ok(), "{reading}");
    }
    assert!(!verb("future --x").is_known());
    assert!(View::with_vms(&verb("launches")).is_some() && View::with_vms(&verb("psp")).is_none());
}

#[test]
fn changes_and_verbs_of_one_host_are_refused_on_all_nodes() {
    let refused = |line: &str| View::of(&Verb::of(&words(line))).err().unwrap().to_string();
    for line in [
        "limit set --default --share 10%",
        "limit clear --default",
        "policy mode enforce --default",
        "policy allow key --default",
        "policy deny key --default",
        "policy clear --default",
        "policy apply a.toml",
    ] {
        assert!(refused(line).contains("changes policy, which is refused on all nodes"), "{line}");
    }
    for line in ["top", "events", "detach", "agent", "report", "future \u{1b}[2J"] {
        let refused = refused(line);
        assert!(refused.contains("is for one node") && !refused.contains('\u{1b}'), "{refused}");
    }
}

#[test]
fn agents_are_asked_for_json_whatever_the_user_wants() {
    let view = View::of(&Verb::of(&words("launches"))).unwrap();
    for (line, json) in [
        ("launches --all", false),
        ("launches -o table --all", false),
        ("launches -o json --all", true),
        ("launches --all --output=json", true),
        ("launches -ojson --all", true),
    ] {
        let command = view.command(&words(line)).unwrap();
        assert_eq!(command.words, words("launches --all --output json"), "{line}");
        assert_eq!(command.json, json, "{line}");
    }
}

#[test]
fn the_page_has_each_option_and_each_view() {
    use clap::CommandFactory as _;
    let page = std::fs::read_to_string(crate::docs::root().join("docs/kubectl.md")).unwrap();
    for arg in Args::command().get_arguments().filter(|arg| !arg.is_hide_set()) {
        if let Some(long) = arg.get_long() {
            assert!(page.contains(&format!("`--{long}")), "--{long}");
        }
        if let Some(short) = arg.get_short() {
            assert!(page.contains(&format!("`-{short}`")), "-{short}");
        }
    }
    for verb in View::verbs() {
        assert!(page.contains(&format!("`{verb}`")), "{verb}");
        assert!(Args::command().get_after_help().unwrap().to_string().contains(verb), "{verb}");
    }
}
