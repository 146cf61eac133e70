use std::fs;

use super::*;
use crate::docs::root;

#[test]
fn facts_of_a_host_without_any_have_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::at(folder.path());
    let config = Config::parse("max_vms = 7");
    let symbols = Symbols::read_some(&system, |_| true);
    let facts = Facts::read(&system, &config, &symbols, None);
    let (json, text) = (facts.json(), facts.text());
    assert_eq!(json["configuration"]["max_vms"], "7");
    assert_eq!(json["gate"]["guestreq_gate"], "not loaded, or without parameters");
    assert!(text.contains("\nversions\n") || text.starts_with("versions\n"), "{text}");
    assert!(text.contains(" agent         does not answer\n"), "{text}");
}

/// The reason and the fix come last; only files are cut.
#[test]
fn an_error_is_not_cut_and_a_long_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::at(folder.path());
    fs::create_dir_all(system.path("/sys/kernel/security")).unwrap();
    fs::write(system.path("/sys/kernel/security/lsm"), "x".repeat(300)).unwrap();
    fs::create_dir_all(system.path("/proc")).unwrap();
    fs::write(system.path("/proc/version"), "Linux version 6 (me@acme) (gcc) #1\n").unwrap();
    let error = format!("/etc/{}: the fix", "long/".repeat(60));
    let symbols = Symbols::read_some(&system, |_| true);
    let mut facts = Facts::read(&system, &Err(anyhow::anyhow!(error.clone())), &symbols, None);
    assert_eq!(facts.texts().next(), Some(&mut error.clone()));
    let json = facts.json();
    assert_eq!(json["configuration"]["error"], error);
    assert_eq!(json["lsms"]["lsm"], "x".repeat(200) + "\u{2026}");
    assert_eq!(json["versions"]["kernel_build"], "Linux version 6 (gcc) #1");
}

#[test]
fn secret_parameters_of_the_gate_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::at(folder.path());
    let parameters = system.path(PARAMETERS);
    fs::create_dir_all(&parameters).unwrap();
    for name in [&SECRET_PARAMETERS[..], &["closed", "depth"]].concat() {
        fs::write(parameters.join(name), format!("value-of-{name}\n")).unwrap();
    }
    let section = super::parameters(&system, MODULE, PARAMETERS);
    let names: Vec<_> = section.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["closed", "depth"]);
}

/// A new parameter has to be put into one of the two lists.
#[test]
fn each_parameter_of_the_gate_is_public_or_secret() {
    const PUBLIC: [&str; 10] = [
        "admitted",
        "busy",
        "closed",
        "denied",
        "depth",
        "launch_share",
        "order",
        "protocol",
        "protocol_newest",
        "unanswered",
    ];
    let mut found = Vec::new();
    for file in fs::read_dir(root().join("gate")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "c") {
            let text = fs::read_to_string(path).unwrap();
            let calls = text.match_indices("module_param");
            let name = |at: usize| text[at..].split_once('(')?.1.split(',').next();
            found.extend(calls.filter_map(|(at, _)| name(at)).map(|name| name.trim().to_owned()));
        }
    }
    found.sort();
    let mut known = [&PUBLIC[..], &SECRET_PARAMETERS[..]].concat();
    known.sort_unstable();
    assert_eq!(found, known);
}
