use std::{fs, os::unix::fs::symlink, path::Path};

use super::*;
use crate::policy::Overrides;

/// Writes a process into a fake /proc.
fn process(proc: &Path, pid: u32, comm: &str, cmdline: &[&str], cgroup: &str) {
    let folder = proc.join(pid.to_string());
    fs::create_dir_all(&folder).unwrap();
    let cmdline: String = cmdline.iter().map(|one| format!("{one}\0")).collect();
    let stat = format!("{pid} ({comm}) S{} 50 0\n", " 1".repeat(18));
    let comm = format!("{comm}\n");
    for (file, text) in
        [("comm", comm.as_str()), ("cmdline", &cmdline), ("cgroup", cgroup), ("stat", &stat)]
    {
        fs::write(folder.join(file), text).unwrap();
    }
}

struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    /// With a configuration whose state folder is its own.
    fn new(config: &str) -> Host {
        let folder = tempfile::tempdir().unwrap();
        let config = format!("state = {:?}\n{config}", folder.path().join("state"));
        fs::write(folder.path().join("config.toml"), config).unwrap();
        fs::create_dir(folder.path().join("proc")).unwrap();
        let host = Host { folder };
        let uuid = "type=1,uuid=6f9d1a4e-0000-4000-8000-000000000302";
        let cmdline = ["/usr/bin/kvm", "-id", "302", "-name", "web", "-smbios", uuid];
        process(&host.proc(), 302, "kvm", &cmdline, "0::/qemu.slice/302.scope\n");
        host
    }

    fn proc(&self) -> PathBuf {
        self.folder.path().join("proc")
    }

    fn system(&self) -> System {
        System::with(Some(self.proc()), None).unwrap()
    }

    fn explain(&self, pid: u32, agent: Option<Result<Explained>>) -> Result<Explanation> {
        let config = self.folder.path().join("config.toml");
        of_process(&self.system(), pid, Some(&config), agent)
    }
}

/// An agent's answer for a VM.
fn agent(name: &str, started: u64) -> Explained {
    let policy_set =
        Config::parse("mode = \"enforce\"\n").unwrap().policy_set(Overrides::default());
    let identity = Identity { vmm: "qemu".to_owned(), ..Identity::called(name) };
    Explained {
        vm: name.to_owned(),
        pid: 302,
        started: Some(started),
        running: true,
        unread: false,
        evidence: vec![Evidence::new(
            "name",
            host::EvidenceSource::Argument,
            &format!("-name {name}"),
        )],
        rules: policy_set.rule_results(&identity),
        policy: policy_set.resolve(&identity),
        identity,
        notes: vec!["from the agent".to_owned()],
    }
}

const RULES: &str = "\
mode = \"audit\"
[[vm]]
match = { name = \"db-*\" }
mode = \"enforce\"
[[vm]]
match = { name = \"web\", vmm = \"qemu\" }
limit = { rate = \"5/s\" }
";

#[test]
fn a_process_is_explained_without_an_agent() {
    let explanation = Host::new(RULES).explain(302, None).unwrap();
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["by"], "files");
    assert_eq!(json["identity"]["name"], "web");
    assert_eq!(json["identity"]["label"], "web");
    assert_eq!(json["evidence"][0]["from"], "argument");
    assert_eq!(json["evidence"][0]["text"], "/usr/bin/kvm");
    assert_eq!(json["rules"][0]["why"], "its name is \"web\"");
    assert_eq!(json["rules"][1]["holds"][0], "limit");
    assert_eq!(json["policy"]["mode"]["origin"]["from"], "config");
    assert!(json["now"].is_null());
}

/// However long the evidence is.
#[test]
fn a_table_fits_a_hundred_columns() {
    let host = Host::new(RULES);
    let cgroup = format!("0::/kubepods/pod{}/{}\n", "a5".repeat(16), "5a".repeat(100));
    fs::write(host.proc().join("302/cgroup"), cgroup).unwrap();
    symlink("/usr/bin/qemu-system-x86_64", host.proc().join("302/exe")).unwrap();
    let text = table::text(&host.explain(302, None).unwrap());
    for line in [
        "web (pid 302), from files",
        "              exe: /usr/bin/qemu-system-x86_64",
        "              argument: -smbios type=1,uuid=6f9d1a4e-0000-4000-8000-000000000302",
        " mode     audit",
    ] {
        assert!(text.lines().any(|it| it.starts_with(line.trim_end())), "{line}\n{text}");
    }
    assert!(text.contains("no: its name is \"web\"") && text.contains("yes: sets limit"), "{text}");
    let folder = host.folder.path().display().to_string();
    let text = text.replace(&folder, "/etc/guestreq");
    let widest = text.lines().map(|line| line.trim_end().chars().count()).max();
    assert!(widest <= Some(100), "{widest:?}\n{text}");
}

#[test]
fn the_agent_s_identity_takes_precedence_over_the_process_now() {
    let host = Host::new(RULES);
    let explanation = host.explain(302, Some(Ok(agent("db", 50)))).unwrap();
    assert_eq!((explanation.by, explanation.identity.identity.name.as_str()), (By::Agent, "db"));
    assert_eq!(explanation.now.as_ref().map(|now| now.identity.name.as_str()), Some("web"));
    let text = table::text(&explanation);
    assert!(text.contains("The process now:") && text.contains("-name web"), "{text}");
    assert!(text.contains("Note: the process has another identity now"), "{text}");

    let identity = host::identify(&host.system(), 302).unwrap().unwrap().identity;
    let same = Explained { identity, ..agent("web", 50) };
    assert!(host.explain(302, Some(Ok(same))).unwrap().now.is_none());
}

#[test]
fn a_process_with_the_same_pid_but_another_start_is_another_one() {
    let host = Host::new(RULES);
    let explanation = host.explain(302, Some(Ok(agent("db", 51)))).unwrap();
    assert_eq!((explanation.by, explanation.identity.identity.name.as_str()), (By::Files, "web"));
    assert!(explanation.notes[0].contains("another process with this pid"));
    let silent = host.explain(302, Some(Err(anyhow::anyhow!("nobody listens")))).unwrap();
    assert!(silent.notes[0].contains("nobody listens"));
}

#[test]
fn a_missing_process_is_reported_and_the_agent_s_answer_kept() {
    let host = Host::new(RULES);
    let error = host.explain(7, None).err().unwrap().to_string();
    assert!(error.contains("proc/7 does not exist") && error.contains("hidepid"), "{error}");
    let exited = Explained { pid: 7, ..agent("db", 50) };
    let known = host.explain(7, Some(Ok(exited))).unwrap();
    assert_eq!(known.by, By::Agent);
    assert_eq!(known.notes[0], "from the agent");
    assert!(known.notes[1].contains("has exited"), "{:?}", known.notes);
}

#[test]
fn unreadable_overrides_are_reported() {
    let host = Host::new(RULES);
    let state = host.folder.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("overrides.json"), "nonsense").unwrap();
    let explanation = host.explain(302, None).unwrap();
    assert!(explanation.notes[0].contains("overrides.json"), "{:?}", explanation.notes);
}

#[test]
fn the_table_of_an_unknown_vmm_shows_what_is_missing() {
    let host = Host::new(RULES);
    process(&host.proc(), 9, "my-vmm", &["/opt/my-vmm\u{1b}[2J"], "");
    let explanation = host.explain(9, None).unwrap();
    let text = table::text(&explanation);
    assert_eq!(explanation.identity.label, "my-vmm-9");
    assert!(text.contains("my-vmm (the process' name: the VM has none)"), "{text}");
    assert!(text.contains("Note: it can have no override"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_process_without_a_start_time_is_explained_by_files() {
    let host = Host::new(RULES);
    fs::remove_file(host.proc().join("302/stat")).unwrap();
    for of_agent in [None, Some(Ok(agent("db", 50)))] {
        let explanation = host.explain(302, of_agent).unwrap();
        assert_eq!(explanation.by, By::Files, "it may be another process than the agent's");
        assert_eq!(explanation.identity.identity.name, "web");
    }
    fs::remove_file(host.proc().join("302/cmdline")).unwrap();
    let error = host.explain(302, None).err().unwrap().to_string();
    assert!(error.ends_with("302 has no cmdline"), "{error}");
    fs::remove_file(host.proc().join("302/comm")).unwrap();
    let error = host.explain(302, None).err().unwrap().to_string();
    assert!(error.ends_with("302 has no comm and no cmdline"), "{error}");
}

#[test]
fn an_unknown_vmm_is_reported() {
    let host = Host::new(RULES);
    process(&host.proc(), 9, "numactl", &["numactl", "kvm", "-name", "web"], "0::/\n");
    let notes = host.explain(9, None).unwrap().notes;
    assert_eq!(notes[0], "\"numactl\" is not a known VMM: its arguments are not read");
    assert!(host.explain(302, None).unwrap().notes.is_empty());
}

#[test]
fn a_rate_beside_a_share_that_never_applies_is_reported() {
    let rules = "limit = { rate = \"100/s\", share = \"1%\" }\n";
    let explanation = Host::new(rules).explain(302, None).unwrap();
    let text = table::text(&explanation);
    assert!(text.contains(" limit    100/s, burst 100, and 1% of the PSP "), "{text}");
    assert!(text.contains("Note: the rate never applies: at 7.70 ms per request"), "{text}");
}

#[test]
fn a_weight_has_its_origin_and_a_note_where_it_has_no_effect() {
    let rule = "[[vm]]\nmatch = { name = \"web\" }\nweight = 4\n";
    let host = Host::new(&format!("backend = \"vcpu\"\n{rule}"));
    let explanation = host.explain(302, None).unwrap();
    assert_eq!(explanation.rules[0].holds, ["weight"]);
    assert_eq!(explanation.policy.weight.value.to_string(), "4");
    let text = table::text(&explanation);
    assert!(
        text.lines().any(|line| line.contains("weight") && line.contains("rule 1, ")),
        "{text}"
    );
    assert!(text.contains("Note: a weight has no effect with backend vcpu"), "{text}");
    let unset = Host::new("backend = \"vcpu\"\n").explain(302, None).unwrap();
    assert!(!table::text(&unset).contains("no effect"), "there is no weight");
}
