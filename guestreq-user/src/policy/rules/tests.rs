use super::*;

fn read(text: &str) -> Result<Match, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn vm(name: &str) -> Identity {
    Identity { name: name.to_owned(), named: true, ..Identity::default() }
}

#[test]
fn all_keys_must_match() {
    let web = read(r#"{"name": "web-*", "vmm": "qemu"}"#).unwrap();
    assert!(web.matches(&Identity { vmm: "qemu".to_owned(), ..vm("web-1") }));
    assert!(!web.matches(&Identity { vmm: "firecracker".to_owned(), ..vm("web-1") }));
    assert!(!web.matches(&Identity { vmm: "qemu".to_owned(), ..vm("db-1") }));
    assert_eq!(web.to_string(), r#"name = "web-*", vmm = "qemu""#);
}

#[test]
fn a_pod_s_vms_match_by_its_namespace_and_uid() {
    let pod = Identity {
        namespace: "prod".to_owned(),
        pod_uid: "1858680e-b044-4fd5-9dd4-f137e30e2180".to_owned(),
        ..vm("web")
    };
    assert!(read(r#"{"namespace": "pro*"}"#).unwrap().matches(&pod));
    assert!(!read(r#"{"namespace": "dev"}"#).unwrap().matches(&pod));
    assert!(read(r#"{"pod_uid": "1858680e-*", "name": "web"}"#).unwrap().matches(&pod));
    assert!(!read(r#"{"namespace": "*"}"#).unwrap().matches(&vm("web")), "in no namespace");
}

#[test]
fn an_unknown_field_matches_no_pattern() {
    let any_uuid = read(r#"{"uuid": "*"}"#).unwrap();
    assert!(!any_uuid.matches(&vm("web")));
    assert!(any_uuid.matches(&Identity { uuid: "7a".to_owned(), ..vm("web") }));
    let process = Identity { named: false, ..vm("snpload") };
    assert!(!read(r#"{"name": "*"}"#).unwrap().matches(&process), "not a VM's name");
}

#[test]
fn an_empty_match_is_an_error() {
    assert!(read("{}").unwrap_err().starts_with("an empty match says nothing"));
    assert!(read(r#"{"name": ""}"#).unwrap_err().starts_with("an empty name matches no VM"));
    let error = read(r#"{"nam": "x"}"#).unwrap_err();
    assert!(error.contains("`name`, `uuid`, `namespace`, `pod_uid`, `vmm`"), "{error}");
}

#[test]
fn uuids_match_in_any_case() {
    let (small, capital) =
        ("93bd9490-bc76-49f0-b86a-25e29523fdc8", "93BD9490-BC76-49F0-B86A-25E29523FDC8");
    for (rule, of_vm) in [(small, capital), (capital, small), ("93BD*", small), (small, small)] {
        let uuid = read(&format!(r#"{{"uuid": "{rule}"}}"#)).unwrap();
        assert!(uuid.matches(&Identity { uuid: of_vm.to_owned(), ..vm("web") }), "{rule} {of_vm}");
        let pod = read(&format!(r#"{{"pod_uid": "{rule}"}}"#)).unwrap();
        assert!(pod.matches(&Identity { pod_uid: of_vm.to_owned(), ..vm("web") }));
    }
    assert!(!read(r#"{"name": "WEB"}"#).unwrap().matches(&vm("web")), "a name is not");
}

#[test]
fn a_name_matches_as_shown() {
    let web = Identity { namespace: "prod".to_owned(), ..vm("web-1") };
    for name in ["web-1", "web-*", "prod/web-1", "prod/*", "*/web-?", "*"] {
        assert!(read(&format!(r#"{{"name": "{name}"}}"#)).unwrap().matches(&web), "{name}");
    }
    // What was written for a name means no more than it did.
    for name in ["prod*", "dev/web-1", "prod/web", "prod", "/web-1"] {
        assert!(!read(&format!(r#"{{"name": "{name}"}}"#)).unwrap().matches(&web), "{name}");
    }
    assert!(read(r#"{"name": "a/*"}"#).unwrap().matches(&vm("a/b")), "a name with a slash");
}

#[test]
fn a_mismatch_names_the_first_pattern_that_does_not_match() {
    let web = Identity { vmm: "qemu".to_owned(), namespace: "prod".to_owned(), ..vm("web") };
    for (rule, why) in [
        (r#"{"name": "db", "vmm": "x"}"#, Some(r#"its name is "web""#)),
        (r#"{"name": "web", "vmm": "x"}"#, Some(r#"its vmm is "qemu""#)),
        (r#"{"name": "dev/web"}"#, Some(r#"its name is "prod/web""#)),
        (r#"{"uuid": "7a"}"#, Some("its uuid is not known")),
        (r#"{"name": "web", "vmm": "q*"}"#, None),
    ] {
        assert_eq!(read(rule).unwrap().mismatch(&web).as_deref(), why, "{rule}");
    }
    let process = Identity { named: false, ..vm("kvm") };
    let why = read(r#"{"name": "kvm"}"#).unwrap().mismatch(&process);
    assert_eq!(why.as_deref(), Some("it has no name of its own"));
}

#[test]
fn patterns_that_match_no_vm_are_warned_of() {
    let warning = |rule: &str| read(rule).unwrap().warning();
    for (rule, why) in [
        (r#"{"name": "web@1234"}"#, r#"the pid is not part of its name, which is "web""#),
        (r#"{"vmm": "kvm"}"#, r#"its vmm is "qemu""#),
        (r#"{"vmm": "qemu-system-x86"}"#, r#"its vmm is "qemu""#),
        (r#"{"vmm": "cloud-hyperviso"}"#, r#"its vmm is "cloud-hypervisor""#),
        (r#"{"vmm": "QEMU"}"#, r#"its vmm is "qemu""#),
        (r#"{"name": "qemu-system-x86-4711"}"#, "it has no name"),
        (r#"{"name": "cloud-hyperviso-4711"}"#, "it has no name"),
        (
            r#"{"uuid": "{93BD9490bc7649f0b86a25e29523fdc8}"}"#,
            r#"would be written "93BD9490-bc76-49f0-b86a-25e29523fdc8""#,
        ),
        (
            r#"{"pod_uid": "93bd9490_bc76_49f0_b86a_25e29523fdc8"}"#,
            r#"would be written "93bd9490-bc76-49f0-b86a-25e29523fdc8""#,
        ),
        (r#"{"uuid": "kvm"}"#, "a UUID has only hexadecimal digits and dashes"),
        (r#"{"pod_uid": "zzzzzzzz-bc76-*"}"#, "a UUID has only hexadecimal digits and dashes"),
        (r#"{"uuid": "7a"}"#, r#"has 36 characters; "7a*" matches those that begin with it"#),
        (r#"{"uuid": "93bd9490-bc76-49f0-b86a-25e29523fdc80"}"#, "has 36 characters"),
        (r#"{"namespace": "prod/web"}"#, r#"name = "prod/web" matches namespace and name"#),
        (r#"{"namespace": "Prod"}"#, "a namespace has only lower-case letters, digits and dashes"),
    ] {
        let warning = warning(rule).unwrap_or_default();
        assert!(warning.contains(why), "{rule}: {warning}");
    }
    for rule in [
        r#"{"name": "web"}"#,
        r#"{"name": "web@"}"#,
        r#"{"name": "@1"}"#,
        r#"{"name": "web@example"}"#,
        r#"{"vmm": "qemu"}"#,
        r#"{"vmm": "qemu*"}"#,
        r#"{"vmm": "cloud-hypervisor"}"#,
        r#"{"vmm": "crosvm"}"#,
        r#"{"uuid": "93BD9490-bc76-49f0-b86a-25e29523fdc8"}"#,
        r#"{"uuid": "93bd9490*"}"#,
        r#"{"uuid": "93bd9490-????-????-????-????????????"}"#,
        r#"{"pod_uid": "2732ca68*"}"#,
        r#"{"pod_uid": "2732ca68f6358eba7703fb6f82a25c94"}"#,
        r#"{"namespace": "team-1*"}"#,
        r#"{"name": "kvm-1"}"#,
        r#"{"name": "web-4711"}"#,
    ] {
        assert_eq!(warning(rule), None, "{rule}");
    }
}
