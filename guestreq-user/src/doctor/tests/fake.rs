//! # A fake host on which every check passes

use std::{fs, io, path::Path, path::PathBuf};

use anyhow::{Result, anyhow};
use tempfile::TempDir;

use crate::{
    bpf::pins::{Found, Mounted},
    config::Config,
    doctor::{
        Host, Report, examine,
        live::{Asked, Live},
        platform::{Platform, Silence},
    },
    host::system::System,
    kernel,
    wire::status::Agent,
};

pub const RELEASE: &str = "6.12.9-amd64";
/// CapEff and Uid of root.
pub const ROOT: &str = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n";
pub const NOBODY: &str =
    "Uid:\t65534\t65534\t65534\t65534\nCapEff:\t0000000000000000\nSeccomp:\t0\n";

pub struct Fake {
    folder: TempDir,
    pub config: Result<String, String>,
    /// The answer, or why there is none.
    pub agent: Result<serde_json::Value, Silent>,
    pub bpf: Option<i32>,
    /// An errno; `None`: the answer of a Debian kernel.
    pub perf: Option<i32>,
    /// Whether CAP_PERFMON suffices at any perf_event_paranoid, as in mainline.
    pub mainline: bool,
    pub log: String,
    pub bpffs: Mounted,
    pub pins: fn() -> Found,
    pub known_gate: u64,
    /// A status, an errno, or a timeout.
    pub platform: Result<Platform, Option<i32>>,
    pub free: u64,
    pub modinfo: Option<String>,
}

#[derive(Clone, Copy)]
pub enum Silent {
    Nobody,
    Forbidden,
    Invalid,
}

pub const KALLSYMS_FILE: &str = "/proc/kallsyms";
const KALLSYMS: &str = "\
ffffffff81000000 D page_offset_base
ffffffff81000008 D sme_me_mask
ffffffff81000010 T register_kprobe
ffffffff81000020 T bpf_lsm_file_ioctl
ffffffff81000030 D __tracepoint_sched_process_exit
ffffffffa0000000 t __sev_do_cmd_locked\t[ccp]
ffffffffa0000010 T sev_issue_cmd_external_user\t[ccp]
ffffffffa0000020 t snp_handle_guest_req\t[kvm_amd]
ffffffffa0000030 d __tracepoint_kvm_userspace_exit\t[kvm]
ffffffffa0000040 d __tracepoint_kvm_vmgexit_enter\t[kvm]
ffffffffa0000050 d __tracepoint_kvm_vmgexit_exit\t[kvm]
";

const FILES: &[(&str, &str)] = &[
    ("/proc/sys/kernel/osrelease", "6.12.9-amd64\n"),
    ("/proc/sys/kernel/kptr_restrict", "1\n"),
    ("/proc/sys/kernel/bpf_stats_enabled", "0\n"),
    ("/proc/sys/kernel/ftrace_enabled", "1\n"),
    ("/proc/self/status", ROOT),
    (KALLSYMS_FILE, KALLSYMS),
    ("/proc/meminfo", "MemTotal: 16 kB\nMemAvailable:    8000000 kB\n"),
    ("/proc/77/limits", "Limit  Soft\nMax open files            1024      524288     files\n"),
    ("/sys/kernel/btf/vmlinux", ""),
    ("/sys/kernel/security/lsm", "lockdown,yama,bpf\n"),
    ("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n"),
    ("/sys/kernel/debug/kprobes/enabled", "1\n"),
    ("/sys/module/kvm_amd/parameters/sev_snp", "Y\n"),
    ("/sys/module/kvm_amd/initstate", "live\n"),
    ("/sys/module/ccp/initstate", "live\n"),
    ("/sys/module/module/parameters/sig_enforce", "N\n"),
    ("/sys/module/guestreq_gate/version", "0.1.0\n"),
    ("/sys/module/guestreq_gate/parameters/protocol", "1\n"),
    ("/sys/module/guestreq_gate/parameters/protocol_newest", "2\n"),
    ("/sys/module/guestreq_gate/parameters/depth", "1\n"),
    ("/sys/module/guestreq_gate/parameters/launch_share", "75\n"),
    ("/sys/module/guestreq_gate/parameters/closed", "N\n"),
    ("/sys/module/guestreq_gate/parameters/file", "0xffff888003a1b200\n"),
    ("/dev/sev", ""),
    // All are for SEV-ES and SNP guests.
    ("/sys/fs/cgroup/misc.capacity", "sev_es 509\n"),
    ("/sys/fs/cgroup/misc.current", "sev_es 12\n"),
    ("/sys/firmware/sev/vulnerabilities/supported_mitigations", "0x3\n"),
    ("/sys/firmware/sev/vulnerabilities/verified_mitigations", "0x3\n"),
    (CONFIG, "CONFIG_KVM_AMD=m\nCONFIG_KVM_AMD_SEV=y\n"),
    (DEP, "updates/dkms/guestreq_gate.ko: kernel/x.ko\n"),
    (BUILTIN, "kernel/fs/exportfs/exportfs.ko\n"),
    (GATE, "\u{7f}ELF\0license=GPL\0vermagic=6.12.9-amd64 SMP mod_unload \0end"),
];

pub const CONFIG: &str = "/boot/config-6.12.9-amd64";
/// depmod's lists of loadable and built-in modules.
pub const DEP: &str = "/lib/modules/6.12.9-amd64/modules.dep";
pub const BUILTIN: &str = "/lib/modules/6.12.9-amd64/modules.builtin";
pub const KVM_AMD_DEP: &str = "kernel/arch/x86/kvm/kvm-amd.ko.xz: kernel/x.ko.xz\n";
pub const CCP_DEP: &str = "kernel/drivers/crypto/ccp/ccp.ko.xz:\n";

pub const GATE: &str = "/lib/modules/6.12.9-amd64/updates/dkms/guestreq_gate.ko";

impl Fake {
    pub fn ready() -> Fake {
        let fake = Fake {
            folder: tempfile::tempdir().unwrap(),
            config: Ok(String::new()),
            agent: Ok(agent()),
            bpf: None,
            perf: None,
            mainline: false,
            log: String::new(),
            bpffs: Mounted::Writable,
            pins: || Found::Ours { max_vms: 1024, threads: 32_768, words: None },
            known_gate: 0xffff_8880_03a1_b200,
            platform: Ok(Platform::of((1, 55), 1)),
            free: 1 << 30,
            modinfo: None,
        };
        for (path, text) in FILES {
            fake.write(path, text);
        }
        for module in [KVM_AMD_DEP, CCP_DEP] {
            fake.append(DEP, module);
        }
        fake
    }

    /// Its root.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, path: &str) -> PathBuf {
        System::at(self.folder.path()).path(path)
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn append(&self, path: &str, text: &str) {
        let before = fs::read_to_string(self.path(path)).unwrap();
        self.write(path, &(before + text));
    }

    /// Removes a file or folder.
    pub fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    /// Replaces a field of the agent's answer.
    pub fn agent_says(&mut self, field: &str, value: serde_json::Value) {
        *self.agent.as_mut().ok().unwrap().pointer_mut(field).unwrap() = value;
    }

    /// Replaces text in a file.
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(path)).unwrap();
        assert!(text.contains(from), "{path} has no {from}");
        self.write(path, &text.replace(from, to));
    }

    /// A copy of /proc, /sys or both.
    pub fn collected(&self, proc: bool, sys: bool) -> System {
        let tree = |wanted: bool, path| wanted.then(|| self.path(path));
        System::with(tree(proc, "/proc"), tree(sys, "/sys")).unwrap()
    }

    pub fn examine(&self) -> Report {
        examine(&Host::new(System::at(self.folder.path()), self))
    }
}

fn agent() -> serde_json::Value {
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"), "pid": 77, "ready": true, "reason": null,
        "enforcement": {"backend": "gate", "mode": "enforce", "verified": true, "reason": null,
                        "bypassed": 0},
        "maps": [{"map": "vms", "entries": 3, "capacity": 1024}],
        "holder": {"command": "snp_guest_request", "vm": "web", "pid": 1, "seconds": 0.01},
        "unread_vms": 0,
        "psp": {"dead": false, "reason": null},
        "feature_file": {"path": "/x/guestreq", "error": null},
    })
}

impl Live for Fake {
    fn config(&self) -> Result<Config> {
        let text = self.config.as_ref().map_err(|error| anyhow!("{error}"))?;
        let state = self.folder.path().join("state");
        Config::parse(&format!("state = {state:?}\n{text}"))
    }

    fn agent(&self, socket: &Path) -> Asked {
        let socket = socket.to_owned();
        match &self.agent {
            Ok(agent) => {
                let agent: Agent = serde_json::from_value(agent.clone()).unwrap();
                Asked::Answered(Box::new(agent))
            }
            Err(Silent::Nobody) => Asked::Nobody(socket),
            Err(Silent::Forbidden) => Asked::Forbidden(socket),
            Err(Silent::Invalid) => Asked::Invalid("the agent answered 404 Not Found".to_owned()),
        }
    }

    fn bpf(&self) -> io::Result<()> {
        self.bpf.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    fn perf_event_open(&self) -> io::Result<()> {
        let system = System::at(self.folder.path());
        let mask = kernel::effective_capabilities(&system).unwrap_or(0);
        let stopped = !self.mainline && kernel::paranoid(&system, mask).is_some();
        let errno = self.perf.or((stopped || mask == 0).then_some(libc::EACCES));
        errno.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    fn kernel_log(&self) -> io::Result<String> {
        Ok(self.log.clone())
    }

    fn bpffs(&self) -> Mounted {
        self.bpffs
    }

    fn pins(&self) -> Result<Found> {
        if self.bpffs == Mounted::Writable {
            Ok((self.pins)())
        } else {
            Err(anyhow!("no BPF file system"))
        }
    }

    fn known_gate(&self) -> Result<u64> {
        Ok(self.known_gate)
    }

    fn platform(&self) -> Result<Platform, Silence> {
        self.platform.map_err(|errno| match errno {
            Some(errno) => Silence::Error(io::Error::from_raw_os_error(errno)),
            None => Silence::TimedOut,
        })
    }

    fn modinfo(&self, _: &Path) -> Result<String> {
        self.modinfo.clone().ok_or_else(|| anyhow!("no modinfo"))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free)
    }
}
