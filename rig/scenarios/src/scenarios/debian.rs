//! # A complete Debian host

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::{
    debian::{self, output},
    scenario::{Context, Group, Needs, Status, scenario},
};

scenario!(BOOTS: "debian/boots" = boots,
    "Debian's own systemd and udev bring up an SNP host, without a failed unit");

pub const GROUP: Group = Group {
    name: "debian",
    memory_mib: 2048,
    needs: Needs::Debian,
    long: true,
    prepare: debian::prepare,
    scenarios: &[BOOTS],
    ..Group::DEFAULT
};

fn boots(_: &Context) -> Result<Status> {
    let parameter = "/sys/module/kvm_amd/parameters/sev_snp";
    let snp = fs::read_to_string(parameter).context(parameter)?;
    ensure!(snp.trim() == "Y", "sev_snp is {snp:?}");
    let failed = output("systemctl", &["--failed", "--plain", "--no-legend"])?;
    ensure!(failed.is_empty(), "failed units: {failed}");
    println!("{}", output("systemd-analyze", &["time"])?);
    Ok(Status::Passed)
}
