//! # The rig: a disposable SNP host that boots on any machine
//!
//! A stock Debian kernel with unmodified kvm, kvm-amd and ccp runs under QEMU's emulation; the
//! module snpsim fakes the hardware.

pub mod boot;
pub mod console;
mod cpio;
pub mod debian;
pub mod image;
mod races;
mod work;

use anyhow::Result;
use boot::{Boot, Host};
use debian::Debian;

use crate::{build, setup};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Boot to a shell on this terminal; Ctrl-A x ends it
    Shell {
        /// The kernel whose version starts with, or else contains, this
        #[arg(long, default_value = "7.")]
        kernel: String,
        /// On a complete Debian host, with packages of guestreq in /run/rig
        #[arg(long)]
        debian: bool,
    },
}

pub fn execute(command: &Command) -> Result<()> {
    let Command::Shell { kernel, debian } = command;
    let rig = prepare(setup::Wanted::Named(kernel))?;
    if let Some(kernel) = rig.kernels.last() {
        let cmdline = "rig.run=shell loglevel=3".to_string();
        let disk = debian.then(|| Debian::prepare(&rig, &kernel.0)).transpose()?;
        Boot {
            cmdline,
            memory_mib: 2048,
            forward: Vec::new(),
            counts_instructions: false,
            host: disk.as_ref().map_or(Host::Rig(Vec::new()), Host::Debian),
            rig: &rig,
            kernel,
        }
        .interactive()?;
    }
    Ok(())
}

/// Prepares the demo's boot: less than others'.
pub fn prepare_vms(kernel: &str) -> Result<setup::Rig> {
    build::ebpf(&setup::ebpf()?)?;
    build::guestreq_and_rig_programs()?;
    setup::rig_of_vms(kernel)
}

/// Prepares boots: the eBPF object, the guest's programs and the kernels.
pub fn prepare(wanted: setup::Wanted<'_>) -> Result<setup::Rig> {
    let tools = setup::ebpf()?;
    build::ebpf(&tools)?;
    build::other_ebpf(&tools)?;
    build::guestreq_and_rig_programs()?;
    setup::rig(wanted)
}
