use super::*;

fn rules(all: &[(&str, When, &str)]) -> Rules {
    let mut rules = Rules::default();
    for (form, when, pseudonym) in all {
        rules.add(form, *when, pseudonym);
    }
    rules
}

#[test]
fn a_name_is_replaced_as_a_word_and_the_longest_counts() {
    let rules = rules(&[("web", When::Word, "vm1"), ("web-1", When::Word, "vm2")]);
    for (text, expected) in [
        ("web, web-1 and web-2", "vm1, vm2 and vm1-2"),
        ("webs cobweb web-10", "webs cobweb vm1-10"),
        ("prod_web.toml /web/ \u{fc}web", "prod_vm1.toml /vm1/ \u{fc}web"),
        ("a\\x2dweb\\x2d1 %2Fweb%20 \\nweb", "a\\x2dvm1\\x2d1 %2Fvm1%20 \\nvm1"),
        ("web", "vm1"),
        ("", ""),
    ] {
        assert_eq!(rules.apply(text, None), expected);
    }
}

#[test]
fn a_common_word_is_replaced_only_where_a_name_is_expected() {
    let all = [("qemu", "vm7"), ("sum", "vm8"), ("1", "vm9")];
    let rules = rules(&all.map(|(form, pseudonym)| (form, When::Expected, pseudonym)));
    for (text, expected) in [
        ("qemu-system-x86_64 -name qemu -m 1", "qemu-system-x86_64 -name vm7 -m 1"),
        ("-name guest=qemu,debug-threads=on", "-name guest=vm7,debug-threads=on"),
        ("the sum of 1 and 1: VM sum, pid 1", "the sum of 1 and 1: VM vm8, pid 1"),
        ("-name qemux", "-name qemux"),
    ] {
        assert_eq!(rules.apply(text, None), expected);
    }
    // In a path of its own VM only, and not a manager's folder.
    let path = "/run/qemu/sum/sum.sock";
    assert_eq!(rules.apply(path, None), path);
    assert_eq!(rules.apply(path, Some("vm8")), "/run/qemu/vm8/vm8.sock");
    assert_eq!(rules.apply(path, Some("vm7")), path);
}

#[test]
fn a_uuid_is_replaced_within_a_word() {
    let rules = rules(&[("7a_7b", When::Anywhere, "0_1")]);
    assert_eq!(rules.apply("kubepods-pod7a_7b.slice", None), "kubepods-pod0_1.slice");
}
