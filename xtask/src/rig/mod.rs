//! # The rig: a disposable SNP host that boots on any machine
//!
//! A stock Debian kernel with its unmodified kvm, kvm-amd and ccp runs under QEMU's emulation; the
//! module snpsim stands in for the hardware.

pub mod boot;
pub mod console;
mod cpio;
pub mod image;

use anyhow::Result;
use boot::Boot;

use crate::{build, setup};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Boot to a shell on this terminal; Ctrl-A x ends it
    Shell {
        /// A kernel of the matrix, by the beginning or a part of its version
        #[arg(long, default_value = "7.")]
        kernel: String,
    },
}

pub fn execute(command: &Command) -> Result<()> {
    let Command::Shell { kernel } = command;
    let rig = prepare(Some(kernel))?;
    if let Some(kernel) = rig.kernels.last() {
        let cmdline = "rig.run=shell loglevel=3".to_string();
        Boot { cmdline, memory_mib: 2048, forward: Vec::new(), rig: &rig, kernel }.interactive()?;
    }
    Ok(())
}

/// Sets everything up for boots: the eBPF object, the guest's programs and the kernels.
pub fn prepare(kernel: Option<&str>) -> Result<setup::Rig> {
    let tools = setup::ebpf()?;
    build::ebpf(&tools)?;
    build::other_ebpf(&tools)?;
    build::static_binaries(image::PROGRAMS)?;
    setup::rig(kernel)
}
