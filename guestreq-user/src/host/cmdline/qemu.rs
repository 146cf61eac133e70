//! # QEMU's
//!
//! As its own code reads them: an option has one dash or two (`lookup_opt` in system/vl.c), all
//! `-name` are merged into one (`merge_lists` of `qemu_name_opts`), of a key's values the last one
//! counts, and `-uuid` and `-smbios type=1,uuid=` set the same UUID, as they come.

use std::io::{self, BufRead};

use super::Parts;
use crate::host::{arguments::Arguments, evidence::Sourced, kubevirt};

pub fn parse(arguments: &mut Arguments<impl BufRead>) -> io::Result<Parts> {
    let mut parts = Parts::default();
    let mut note = |argument: &str| {
        if parts.mark.is_none() && kubevirt::is_marked(argument) {
            parts.mark = Some(argument.to_owned());
        }
    };
    let (mut name, mut uuid) = (None, None);
    while let Some(argument) = arguments.next()? {
        note(&argument);
        let Some(option) = argument.strip_prefix('-') else { continue };
        let option = option.strip_prefix('-').unwrap_or(option);
        // The next argument is their value, even if it looks like an option.
        if !matches!(option, "name" | "uuid" | "smbios" | "append") {
            continue;
        }
        let Some(value) = arguments.next()? else { break };
        note(&value);
        let sourced =
            |value: String, whole: &str| Some(Sourced::new(value, format!("-{option} {whole}")));
        match option {
            "name" => {
                if let Some(guest) = last(&value, Some("guest"), "guest") {
                    name = sourced(guest, &value);
                }
            }
            "uuid" => uuid = sourced(value.clone(), &value),
            "smbios" => {
                // QEMU reads the type with strtoul(3), which takes 0x1 and 01, too.
                let ty = last(&value, None, "type");
                let ty =
                    ty.as_deref().map(|ty| ty.trim_start_matches("0x").trim_start_matches('0'));
                if ty == Some("1")
                    && let Some(id) = last(&value, None, "uuid")
                {
                    uuid = sourced(id, &value);
                }
            }
            _ => {}
        }
    }
    (parts.name, parts.uuid) = (name, uuid);
    Ok(parts)
}

/// The last value of a key in `key=value,…`, where a comma in a value is written twice. The first
/// part may be a value alone, of the key that is implied.
fn last(options: &str, implied: Option<&str>, key: &str) -> Option<String> {
    let (mut rest, mut implied) = (options, implied);
    let mut found = None;
    while !rest.is_empty() {
        // get_opt_name_value in util/qemu-option.c.
        let end = rest.find(['=', ',']).unwrap_or(rest.len());
        let (of, value) = match (rest[end..].strip_prefix('='), implied.take()) {
            (Some(value), _) => (&rest[..end], value),
            (None, Some(implied)) => (implied, rest),
            (None, None) => {
                // A flag, which has no value.
                rest = rest.get(end + 1..).unwrap_or_default();
                continue;
            }
        };
        let (value, behind) = unescaped(value);
        if of == key {
            found = Some(value);
        }
        rest = behind;
    }
    found
}

/// A value up to its single comma, and the rest.
fn unescaped(text: &str) -> (String, &str) {
    let (mut value, mut rest) = (String::new(), text);
    loop {
        let Some((part, behind)) = rest.split_once(',') else {
            value.push_str(rest);
            return (value, "");
        };
        value.push_str(part);
        match behind.strip_prefix(',') {
            Some(behind) => {
                value.push(',');
                rest = behind;
            }
            None => return (value, behind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::arguments::cmdline;

    fn read(line: &str) -> Parts {
        parse(&mut Arguments::of(&cmdline(line)[..])).unwrap()
    }

    fn name(line: &str) -> Option<String> {
        read(line).name.map(|name| name.value)
    }

    fn uuid(line: &str) -> Option<String> {
        read(line).uuid.map(|name| name.value)
    }

    #[test]
    fn a_name_is_the_first_value_or_the_guest() {
        for (line, expected) in [
            ("-name web", "web"),
            ("--name web,process=x", "web"),
            ("-name guest=web-1,debug-threads=on", "web-1"),
            ("-name debug-threads=on,guest=web", "web"),
            ("-name a,,b", "a,b"),
            ("-name a,,,,b,,,process=x", "a,,b,"),
            ("-name guest=a,,process=b", "a,process=b"),
            ("-name a,,b=c", "a,b=c"),
            ("-name web,guest=db", "db"),
            ("-name guest=a,guest=b", "b"),
            ("-name guest=a=b", "a=b"),
            ("-name ,guest=web", "web"),
            ("-name web,", "web"),
            ("-name debug-threads", "debug-threads"),
        ] {
            assert_eq!(name(line).as_deref(), Some(expected), "{line}");
        }
        for line in
            ["-name", "-name debug-threads=on", "-name web=", "-nam web", "name web", "---name web"]
        {
            assert_eq!(name(line), None, "{line}");
        }
        assert_eq!(name("-name guest=,process=x").as_deref(), Some(""), "which is none");
    }

    #[test]
    fn a_flag_between_options_is_passed_over() {
        assert_eq!(uuid("-smbios type=1,a-flag,uuid=7a").as_deref(), Some("7a"));
        assert_eq!(last("type=1,a-flag,b,uuid=7a,c", None, "uuid").as_deref(), Some("7a"));
        assert_eq!(last("a-flag", None, "uuid"), None);
    }

    #[test]
    fn all_names_are_merged_and_the_last_guest_counts() {
        assert_eq!(name("-name web -m 4G -name debug-threads=on").as_deref(), Some("web"));
        assert_eq!(name("-name debug-threads=on -name web").as_deref(), Some("web"));
        assert_eq!(name("-name web -name guest=db,process=x").as_deref(), Some("db"));
        assert_eq!(name("-name web -name guest=").as_deref(), Some(""));
    }

    #[test]
    fn an_option_s_value_is_no_option() {
        assert_eq!(name("-append -name -S -uuid 7a"), None);
        assert_eq!(uuid("-append -name -S -uuid 7a").as_deref(), Some("7a"));
        assert_eq!(name("-name -uuid -S").as_deref(), Some("-uuid"));
        assert_eq!(uuid("-name -uuid -S"), None);
    }

    #[test]
    fn a_uuid_is_an_option_or_in_the_smbios_table_of_the_system() {
        assert_eq!(uuid("-uuid 7a").as_deref(), Some("7a"));
        assert_eq!(uuid("-smbios type=1,uuid=7b").as_deref(), Some("7b"));
        assert_eq!(uuid("-smbios uuid=7b,type=1,manufacturer=a,,uuid=7c").as_deref(), Some("7b"));
        assert_eq!(uuid("-smbios type=0x1,uuid=7b").as_deref(), Some("7b"));
        assert_eq!(uuid("-smbios type=01,uuid=7b").as_deref(), Some("7b"));
        for other in
            ["type=11,uuid=7b", "type=3,uuid=7b", "uuid=7b", "type=1", "file=x", "type=10,uuid=7b"]
        {
            assert_eq!(uuid(&format!("-smbios {other}")), None, "{other}");
        }
        assert_eq!(uuid("-uuid 7a -smbios type=1,uuid=7b").as_deref(), Some("7b"), "as they come");
        assert_eq!(uuid("-smbios type=1,uuid=7b -uuid 7a").as_deref(), Some("7a"));
        assert_eq!(uuid("-uuid 7a -smbios type=1,product=x").as_deref(), Some("7a"));
    }

    #[test]
    fn the_evidence_is_the_option() {
        let parts = read("-id 302 -name web,debug-threads=on --smbios type=1,uuid=7b");
        assert_eq!(parts.name.unwrap().text, "-name web,debug-threads=on");
        assert_eq!(parts.uuid.unwrap().text, "-smbios type=1,uuid=7b");
    }
}
