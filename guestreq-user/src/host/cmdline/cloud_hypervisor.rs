//! # cloud-hypervisor's
//!
//! It has no VM name, but its path arguments may: libvirt's event monitor, and API sockets named
//! after the VM or in a folder of the VM. Many managers use one name for all VMs. So a name is
//! taken only if it is known to be the VM's: two VMs mistaken for one would share overrides.

use std::io::{self, BufRead};

use super::{Parts, value};
use crate::host::{arguments::Arguments, evidence::Sourced};

/// Words in API sockets' names that do not identify a VM.
const WORDS: &str = "\
    admin agent api ch chapi chv clh client cloud cloudhypervisor cmd command confidential \
    console container control ctl ctrl current cvm daemon data default dev env event events fd \
    guest guests http hv hyper hypervisor instance instances ipc kata kvm libvirt local log logs \
    machine machines main manager mgmt microvm monitor private qmp remote rest root rpc run \
    sandbox sandboxes serial server service sev shared snp sock socket sockets socks state \
    static system tdx tmp var virt virtink virtual vm vmm vms vsock work";
/// Folders with one folder per VM, as libvirt, Kata and many others have.
const HOMES: &str = "\
    ch chv clh cloud-hypervisor domain domains guest guests instance instances kata machine \
    machines microvm microvms sandbox sandboxes virtual-machine virtual-machines vm vmi vmis vms";
/// libvirt's folder, and what it appends to a domain's name there.
const LIBVIRT: &str = "/libvirt/ch/";
const MONITOR: &str = "-event-monitor-fifo";
const ENDINGS: [&str; 3] = [".sock", ".socket", ".api"];

pub fn parse(arguments: &mut Arguments<impl BufRead>) -> io::Result<Parts> {
    let (mut socket, mut monitor, mut platform) = (None, None, None);
    while let Some(argument) = arguments.next()? {
        for (option, found) in [
            ("--api-socket", &mut socket),
            ("--event-monitor", &mut monitor),
            ("--platform", &mut platform),
        ] {
            if let Some(given) = value(&argument, option, arguments)? {
                *found = Some(given);
            }
        }
    }
    let from_monitor = monitor.and_then(|given| named(given, of_monitor));
    Ok(Parts {
        name: from_monitor.or_else(|| socket.and_then(|given| named(given, of_socket))),
        uuid: platform.and_then(|given| named(given, |value| key(value, "uuid"))),
        mark: None,
    })
}

fn named(given: Sourced, name: impl Fn(&str) -> Option<String>) -> Option<Sourced> {
    Some(Sourced { value: name(&given.value)?, text: given.text })
}

/// `path=/run/libvirt/ch/NAME-event-monitor-fifo`
fn of_monitor(value: &str) -> Option<String> {
    let path = key(value, "path")?;
    let (folder, file) = path.rsplit_once('/')?;
    let name = file.strip_suffix(MONITOR)?;
    is_libvirt(folder).then(|| name.to_owned())
}

fn is_libvirt(folder: &str) -> bool {
    format!("{folder}/").ends_with(LIBVIRT)
}

/// `PATH`, `path=PATH` or `fd=NUMBER`.
fn of_socket(value: &str) -> Option<String> {
    let path = match (key(value, "path"), key(value, "fd")) {
        // cloud-hypervisor takes the descriptor, if it has both.
        (_, Some(_)) => return None,
        (Some(path), None) => path,
        (None, None) => value.to_owned(),
    };
    // Such a path does not show the file.
    if path.starts_with("/proc/") || path.starts_with("/dev/") {
        return None;
    }
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", &path));
    let ending = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending));
    let stem = ending.unwrap_or(file);
    if is_libvirt(folder)
        && let Some(name) = stem.strip_suffix("-socket")
    {
        return Some(name.to_owned());
    }
    let stem = stem.strip_suffix("-socket").unwrap_or(stem);
    if !says_nothing(stem) {
        return Some(stem.to_owned());
    }
    let (home, own) = folder.rsplit_once('/')?;
    let home = home.rsplit('/').next().unwrap_or(home);
    let is_own = !says_nothing(own) && HOMES.split(' ').any(|known| known == home) || is_id(own);
    is_own.then(|| own.to_owned())
}

/// Whether a name consists of such words only, separated or not (`chsock`).
fn says_nothing(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.split(|c: char| !c.is_alphanumeric()).all(is_made_of_words)
}

fn is_made_of_words(text: &str) -> bool {
    let words: Vec<&str> = WORDS.split(' ').collect();
    // Whether words may end there. Arguments may be long, so each position is visited once.
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    for at in 0..text.len() {
        if ends[at] {
            for word in words.iter().filter(|word| text[at..].starts_with(**word)) {
                ends[at + word.len()] = true;
            }
        }
    }
    ends[text.len()]
}

/// A UUID, or the digits of a Kata sandbox: unique to a VM.
fn is_id(name: &str) -> bool {
    let digits = name.bytes().filter(u8::is_ascii_hexdigit).count();
    digits >= 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// A key's value in a list with commas, quotes and brackets (OptionParser in option_parser).
fn key(list: &str, name: &str) -> Option<String> {
    let (mut quoted, mut depth) = (false, 0_i32);
    let mut parts = list.split(|c| {
        match c {
            '"' => quoted = !quoted,
            '[' if !quoted => depth += 1,
            ']' if !quoted => depth -= 1,
            _ => {}
        }
        c == ',' && !quoted && depth == 0
    });
    let value = parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.replace('"', ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::arguments::cmdline;

    fn read(line: &str) -> Parts {
        parse(&mut Arguments::of(&cmdline(line)[..])).unwrap()
    }

    fn name(line: &str) -> Option<String> {
        read(line).name.map(|given| given.value)
    }

    fn of(path: &str) -> Option<String> {
        let name = name(&format!("--api-socket {path}"));
        assert_eq!(name, super::of_socket(&format!("path={path}")), "{path}");
        name
    }

    #[test]
    fn a_socket_that_is_named_after_its_vm_names_it() {
        // cloud-hypervisor's own documentation, microvm.nix, FeOS, managers of people's own.
        for (path, expected) in [
            ("/tmp/web.sock", "web"),
            ("web.sock", "web"),
            ("/run/bosun/sk01.api", "sk01"),
            ("/run/feos/vm_api_sockets/6f9d1a4e", "6f9d1a4e"),
            ("/run/cloud-hypervisor/web-1.socket", "web-1"),
            ("/run/libvirt/ch/web-socket", "web"),
            ("/run/user/1000/libvirt/ch/monitor-socket", "monitor"),
            ("/tmp/vm-web.sock", "vm-web"),
            ("/run/7.sock", "7"),
            ("/run/ch1.sock", "ch1"),
            ("/tmp/channel.sock", "channel"),
        ] {
            assert_eq!(of(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn a_folder_of_the_vm_s_own_names_it() {
        for (path, expected) in [
            ("/run/vc/vm/3f2a/clh-api.sock", "3f2a"),
            ("/run/kata/3f2a/ch-api.sock", "3f2a"),
            ("/vm/vmabc123/ch.sock", "vmabc123"),
            ("/var/lib/microvms/web/api.sock", "web"),
            ("/run/cloud-hypervisor/web/api.sock", "web"),
            ("/srv/93BD9490BC7649F0B86A25E29523FDC8/ch.sock", "93BD9490BC7649F0B86A25E29523FDC8"),
            ("/data/vms/web/cloud-hypervisor.sock", "web"),
            (
                "/srv/6f9d1a4e-0000-4000-8000-000000000021/api.sock",
                "6f9d1a4e-0000-4000-8000-000000000021",
            ),
        ] {
            assert_eq!(of(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn brackets_in_quotes_and_commas_in_brackets_part_nothing() {
        for list in [
            "uuid=7a",
            "serial=\"a[b\",uuid=7a",
            "serial=\"a]b\",uuid=7a",
            "ids=[1,uuid=3],uuid=7a",
        ] {
            assert_eq!(key(list, "uuid").as_deref(), Some("7a"), "{list}");
        }
        assert_eq!(key("serial=\"x,uuid=7a\"", "uuid"), None);
    }

    #[test]
    fn generic_paths_give_no_name() {
        for path in [
            "/tmp/ch-socket",
            "/tmp/ch-api.sock",
            "/tmp/cloud-hypervisor.sock",
            "/var/run/virtink/ch.sock",
            "env/cloud-hypervisor.sock",
            "cloud-hypervisor.sock",
            "api.sock",
            "/run/monitor/api.sock",
            "/run/monitor.sock",
            "/run/some-manager/api.sock",
            "/run/vms/vm/api.sock",
            "/run/cloud-hypervisor/api.sock",
            "/srv/93bd9490bc7649f0b86a25e29523fdc/ch.sock",
            "/srv/93bd9490bc7649f0b86a25e29523fdc8x/ch.sock",
            "/srv/api.sock",
            "/tmp/chsock",
            "/tmp/VMM_API.sock",
            "/tmp/cloudhv.sock",
            "/run/guest.sock",
            "/run/instance.sock",
            "/tmp/ch-snp.sock",
            "/run/vms/sockets/api.sock",
            "/run/kata/shared/ch-api.sock",
            "/run/vm/current/ch.sock",
            "@ch",
            "/api.sock",
            "/proc/self/fd/25",
            "/dev/fd/25",
            "/vms/.sock",
            "",
            "/",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
        assert_eq!(name("--api-socket fd=25"), None);
        assert_eq!(name("--api-socket=fd=25,path=/tmp/web.sock"), None);
        assert_eq!(name("--kernel vmlinux"), None);
    }

    #[test]
    fn libvirt_s_monitor_names_the_domain_and_no_other_does() {
        let with = |path: &str| name(&format!("--api-socket fd=25 --event-monitor path={path}"));
        assert_eq!(with("/run/libvirt/ch/web-event-monitor-fifo").as_deref(), Some("web"));
        let session = "/run/user/1000/libvirt/ch/api-event-monitor-fifo";
        assert_eq!(with(session).as_deref(), Some("api"), "a domain may be called anything");
        for other in [
            "/var/run/virtink/ch-events.json",
            "/tmp/ch-event-monitor-fifo",
            "web-event-monitor-fifo",
        ] {
            assert_eq!(with(other), None, "{other}");
        }
        assert_eq!(name("--event-monitor fd=7 --api-socket /tmp/web.sock").as_deref(), Some("web"));
    }

    #[test]
    fn a_platform_has_the_uuid_outside_of_quotes_and_brackets() {
        let uuid = |value: &str| read(&format!("--platform {value}")).uuid.map(|given| given.value);
        assert_eq!(uuid("num_pci_segments=1,uuid=7a").as_deref(), Some("7a"));
        assert_eq!(uuid("uuid=\"7a\"").as_deref(), Some("7a"));
        assert_eq!(uuid("oem_strings=[a,uuid=7b],uuid=7a").as_deref(), Some("7a"));
        assert_eq!(uuid("oem_strings=[\"],uuid=7b\"],sev_snp=on"), None);
        assert_eq!(uuid("serial_number=\"x,uuid=7b\""), None);
        assert_eq!(uuid("xuuid=7a"), None);
        assert_eq!(read("--platform uuid=7a").uuid.unwrap().text, "--platform uuid=7a");
    }
}
