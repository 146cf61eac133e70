//! # What is left out of texts that may have secrets
//!
//! With and without names: passwords, addresses and keys are no names.

use serde_json::Value;

/// Left out.
const REST: &str = "\u{2026}";
/// Texts of evidence that are longer are cut by who reads them.
const MAX_EVIDENCE: usize = 256;

/// Options of the kernel whose values stay: those that doctor reads, and others that say what this kernel
/// can do.
const OPTIONS: [&str; 13] = [
    "amd_iommu",
    "cgroup_disable",
    "cgroup_no_v1",
    "efi",
    "iommu",
    "lockdown",
    "lsm",
    "mem_encrypt",
    "mitigations",
    "module_blacklist",
    "security",
    "sev",
    "systemd.unified_cgroup_hierarchy",
];
const OPTIONS_OF: [&str; 4] = ["ccp.", "iommu.", "kvm.", "kvm_amd."];

/// The kernel's command line: values of other options may be passwords, addresses, and names of hosts.
pub fn command_line(text: &str) -> String {
    let is_flag =
        |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase() || b"_-.".contains(&byte));
    let option = |word: &str| match word.trim_matches('"').split_once('=') {
        Some((name, _)) if is_public(name) => word.to_owned(),
        Some((name, _)) => format!("{name}={REST}"),
        None if is_flag(word) => word.to_owned(),
        None => REST.to_owned(),
    };
    // What follows is init's.
    let words = text.split_whitespace().take_while(|word| *word != "--");
    words.map(option).collect::<Vec<_>>().join(" ") + "\n"
}

fn is_public(name: &str) -> bool {
    let name = name.replace('-', "_");
    OPTIONS.contains(&name.as_str()) || OPTIONS_OF.iter().any(|of| name.starts_with(of))
}

/// /proc/modules: where modules are is a secret of the running kernel.
pub fn modules(text: &str) -> String {
    let line = |line: &str| {
        let words = line.split(' ').map(|word| match word.starts_with("0x") {
            true => "0x0000000000000000",
            false => word,
        });
        words.collect::<Vec<_>>().join(" ") + "\n"
    };
    text.lines().map(line).collect()
}

/// /proc/version, without who built this kernel, and where.
pub fn version(text: &str) -> String {
    match text.split_once(" (").and_then(|(begin, rest)| Some((begin, rest.split_once(')')?))) {
        Some((begin, (builder, end))) if builder.contains('@') => format!("{begin}{end}"),
        _ => text.to_owned(),
    }
}

/// Arguments in an answer: of each only what the field is made of. Other keys of an option may be
/// credentials (`oem_strings`) or addresses (`serial`).
pub fn evidence(answer: &mut Value) {
    match answer {
        Value::Array(all) => all.iter_mut().for_each(evidence),
        Value::Object(map) => {
            let is_argument = map.get("from").is_some_and(|from| from == "argument");
            let field = map.get("field").and_then(Value::as_str).map(str::to_owned);
            if let Some(Value::String(text)) = map.get_mut("text")
                && let Some(field) = field.filter(|_| is_argument)
            {
                *text = argument(&field, text);
            }
            map.values_mut().for_each(evidence);
        }
        _ => {}
    }
}

fn argument(field: &str, text: &str) -> String {
    const MARKS: [&str; 2] = ["/run/kubevirt", "manufacturer=KubeVirt"];
    let is_whole = text.chars().count() < MAX_EVIDENCE;
    let (option, value) = text.split_once([' ', '=']).unwrap_or((text, ""));
    match field {
        "name" | "vmm" if is_whole => text.to_owned(),
        "uuid" if option == "-uuid" => format!("{option} {}", uuid(value)),
        "uuid" => {
            let value = value.split(',').find_map(|part| part.strip_prefix("uuid="));
            value.map_or_else(|| REST.to_owned(), |it| format!("{option} uuid={},{REST}", uuid(it)))
        }
        "namespace" => MARKS.iter().find(|mark| text.contains(**mark)).unwrap_or(&REST).to_string(),
        _ => REST.to_owned(),
    }
}

fn uuid(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_hexdigit() || *c == '-').collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_kernel_s_command_line_has_no_secrets() {
        let text = "BOOT_IMAGE=/vmlinuz root=UUID=7a ro quiet ip=10.0.0.7::10.0.0.1::node-7:eth0 \
                    rd.iscsi.password=hunter2 kvm_amd.sev=0 iommu=pt \"sev=nosnp\" Hunter3 -- secret";
        assert_eq!(
            command_line(text),
            "BOOT_IMAGE=\u{2026} root=\u{2026} ro quiet ip=\u{2026} rd.iscsi.password=\u{2026} \
             kvm_amd.sev=0 iommu=pt \"sev=nosnp\" \u{2026}\n"
        );
    }

    #[test]
    fn addresses_of_modules_are_hidden() {
        let text =
            "kvm_amd 217088 3 - Live 0xffffffffc0d2a000 (OE)\nccp 155648 1 kvm_amd, Live 0x0\n";
        assert_eq!(
            modules(text),
            "kvm_amd 217088 3 - Live 0x0000000000000000 (OE)\n\
             ccp 155648 1 kvm_amd, Live 0x0000000000000000\n"
        );
    }

    #[test]
    fn who_built_the_kernel_is_left_out() {
        let text = "Linux version 6.12.1 (me@build-7.acme.internal) (gcc (GCC) 14.2) #1 SMP";
        assert_eq!(version(text), "Linux version 6.12.1 (gcc (GCC) 14.2) #1 SMP");
        assert_eq!(version("Linux version 6 (gcc) #1"), "Linux version 6 (gcc) #1");
    }

    #[test]
    fn of_arguments_only_what_a_field_is_made_of_is_kept() {
        let long = format!("-name {}", "x".repeat(300));
        for (field, text, expected) in [
            ("name", "-name guest=web,debug-threads=on", "-name guest=web,debug-threads=on"),
            ("name", &long[..256], "\u{2026}"),
            ("uuid", "-uuid 7A-b", "-uuid 7A-b"),
            (
                "uuid",
                "-smbios type=1,uuid=7a-b,serial=ds=nocloud;h=HOST,asset=tag",
                "-smbios uuid=7a-b,\u{2026}",
            ),
            (
                "uuid",
                "--platform snp=on,uuid=7a,oem_strings=[io.systemd.credential:x=secret]",
                "--platform uuid=7a,\u{2026}",
            ),
            ("uuid", "--platform uuid=secret", "--platform uuid=,\u{2026}"),
            ("uuid", "-smbios type=1", "\u{2026}"),
            ("namespace", "/run/kubevirt-private/a_b/x", "/run/kubevirt"),
            ("namespace", "secret", "\u{2026}"),
            ("new", "secret", "\u{2026}"),
        ] {
            assert_eq!(argument(field, text), expected, "{text}");
        }
        let mut answer = json!([{"evidence": [{"field": "new", "from": "argument", "text": "x"},
                                              {"field": "vmm", "from": "exe", "text": "/bin/y"}]}]);
        evidence(&mut answer);
        let texts: Vec<_> = (0..2).map(|at| answer[0]["evidence"][at]["text"].clone()).collect();
        assert_eq!(texts, ["\u{2026}", "/bin/y"]);
    }
}
