//! # Domains of libvirt
//!
//! Defined and started with virsh through libvirtd, as Debian ships it. The guest is snpsim's, as in
//! [`crate::qemu`].

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    debian::{LIMIT, output},
    flash::{self, Script},
    host::wait_until,
    letters::Letters,
};

/// Where AppArmor's profile lets a domain read its firmware and write a log.
const IMAGES: &str = "/var/lib/libvirt/images";
const LOGS: &str = "/var/log/libvirt/qemu";

/// What AppArmor permits domains, beside what Debian has.
const PERMITTED: &str = "/etc/apparmor.d/local/abstractions/libvirt-qemu";

/// Lets confined domains be SNP guests: Debian 13's profile does not permit QEMU the PSP's device.
pub fn permit_sev() -> Result<()> {
    let folder = "/etc/apparmor.d/local/abstractions";
    fs::create_dir_all(folder).context(folder)?;
    fs::write(PERMITTED, "/dev/sev rw,\n").context(PERMITTED)
}

/// The profile as Debian ships it.
pub fn forbid_sev() -> Result<()> {
    fs::remove_file(PERMITTED).context(PERMITTED)
}

/// A defined domain; destroyed and forgotten when dropped.
pub struct Domain {
    pub name: String,
    pub uuid: String,
    letters: Letters,
}

impl Domain {
    /// Defines and starts a domain of this name, whose guest follows the script.
    pub fn start(name: &str, script: &Script) -> Result<Domain> {
        Domain::start_with(name, script, "")
    }

    /// The same without AppArmor, whose helper refuses quotes, commas and some other characters in
    /// names.
    pub fn start_unconfined(name: &str, script: &Script) -> Result<Domain> {
        Domain::start_with(name, script, "<seclabel type='none' model='apparmor'/>")
    }

    fn start_with(name: &str, script: &Script, label: &str) -> Result<Domain> {
        static STARTED: AtomicU32 = AtomicU32::new(1);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let uuid = format!("5e71c0de-0000-4000-9000-{number:012x}");
        let firmware = format!("{IMAGES}/{number}.fd");
        fs::write(&firmware, flash::image(script, flash::PAGES)?).context("a firmware image")?;
        let letters = Letters::at(format!("{LOGS}/{number}.letters"));
        let domain = Domain { name: name.to_owned(), uuid, letters };
        let file = format!("/tmp/{number}.xml");
        fs::write(&file, domain.xml(&firmware, label)).context("a domain's XML")?;
        output("virsh", &["define", "--validate", &file])?;
        domain.virsh("start")?;
        Ok(domain)
    }

    fn xml(&self, firmware: &str, label: &str) -> String {
        let name = escaped(&self.name);
        let (uuid, letters) = (&self.uuid, self.letters.path());
        // cbitpos as in crate::qemu::SNP.
        format!(
            "<domain type='kvm'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>64</memory>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <loader type='rom' readonly='yes' stateless='yes'>{firmware}</loader>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='forbid'>EPYC</model></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <video><model type='none'/></video>
    <serial type='file'>
      <source path='{letters}'/>
      <target type='isa-debug' port='0'><model name='isa-debugcon'/></target>
      <address type='isa' iobase='0x402'/>
    </serial>
  </devices>
  <launchSecurity type='sev-snp'>
    <cbitpos>8</cbitpos>
    <reducedPhysBits>1</reducedPhysBits>
    <policy>0x30000</policy>
  </launchSecurity>
  {label}
</domain>
"
        )
    }

    /// Runs a command of virsh about this domain, and returns what it prints.
    pub fn virsh(&self, command: &str) -> Result<String> {
        let said = output("virsh", &[command, &self.uuid]);
        Ok(said.with_context(|| self.name.clone())?.trim().to_owned())
    }

    /// Its state, such as running, paused or shut off.
    pub fn state(&self) -> Result<String> {
        self.virsh("domstate")
    }

    /// The same with its reason, such as paused (user).
    pub fn reason(&self) -> Result<String> {
        let said = output("virsh", &["domstate", "--reason", &self.uuid]);
        Ok(said.with_context(|| self.name.clone())?.trim().to_owned())
    }

    pub fn wait_for_state(&self, wanted: &str) -> Result<()> {
        let mut last = String::new();
        let waited = wait_until(&format!("{} is {wanted}", self.name), LIMIT, || {
            last = self.state()?;
            Ok(last == wanted)
        });
        waited.with_context(|| format!("it is {last}"))
    }

    /// The answers that its guest has got.
    pub fn letters(&self) -> Result<String> {
        self.letters.read()
    }

    pub fn count(&self, letter: char) -> Result<u64> {
        self.letters.count(letter)
    }

    pub fn wait_for(&self, what: &str, so: impl FnMut(&str) -> bool) -> Result<String> {
        let what = format!("{} has {what}", self.name);
        let waited = self.letters.wait_for(&what, LIMIT, || Ok(()), so);
        waited.with_context(|| format!("it is {:?}", self.state()))
    }

    pub fn wait_for_answers(&self, more: u64) -> Result<()> {
        let answered = self.letters.more_answers(more)?;
        self.wait_for(&format!("{more} more answers"), answered).map(drop)
    }

    /// Its QEMU, which has its UUID among its arguments.
    pub fn pid(&self) -> Result<u32> {
        let folders = fs::read_dir("/proc").context("/proc")?.flatten();
        let mut pids = folders.filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let arguments = fs::read(entry.path().join("cmdline")).ok()?;
            let mut words = arguments.split(|byte| *byte == 0);
            words.any(|word| word == self.uuid.as_bytes()).then_some(pid)
        });
        pids.next().with_context(|| format!("no process of {}", self.name))
    }

    /// Ends it, if it runs, and forgets it.
    pub fn end(self) -> Result<()> {
        if self.state()? != "shut off" {
            self.virsh("destroy")?;
        }
        Ok(())
    }
}

impl Drop for Domain {
    // After a failure the next scenario has no use for it, whatever its state.
    fn drop(&mut self) {
        let _ = self.virsh("destroy");
        let _ = self.virsh("undefine");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The version of libvirt that runs here.
pub fn version() -> Result<String> {
    let version = output("libvirtd", &["--version"])?;
    ensure!(version.contains("libvirt"), "{version}");
    Ok(version.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_have_what_xml_reserves() {
        assert_eq!(escaped("a & b <c>"), "a &amp; b &lt;c&gt;");
    }
}
