//! # Firmware images

use anyhow::{Result, ensure};
use guestreq_common::command::{SNP_DECOMMISSION, SNP_GCTX_CREATE};

use super::{INTERVAL, LIMIT, count, end_of_script};
use crate::{
    agent::{Agent, is_known},
    flash::{self, Script},
    host::{Firmware, wait_until},
    qemu::{Machine, QEMU_10, QEMU_11, Qemu},
    scenario::{Context, Status, scenario},
    scenarios::{assert_exact, launches::records},
};

scenario!(OVMF: "qemu/ovmf" = ovmf,
    "QEMU launches OVMF with the pages of its metadata, and the launch is known exactly");
scenario!(NO_METADATA: "qemu/no_metadata" = no_metadata,
    "a firmware image without metadata fails in QEMU, and other VMs and the agent are unaffected");

fn ovmf(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    let script = Script::reports(INTERVAL / 2).count(10);
    let image = flash::ovmf(&script)?;
    let pages = image.len() as u64 / 4096;
    let mut vm = Machine::with_image("ovmf", image).start()?;
    end_of_script(&mut vm, 10)?;
    ensure!(count(&agent, "ovmf", "ok")? == 10, "not all are counted");
    let launches = Firmware::read()?.launches_since(&before)?;
    ensure!(launches.len() == 1, "{launches:?}");
    // What its metadata lists, and the vCPU's state, are measured, too.
    ensure!(launches[0].pages > pages + 20 && launches[0].failed == 0, "{launches:?}");
    let known = records::finished()?;
    ensure!(known.len() == 1, "{known:?}");
    known[0].is_exactly(&launches[0])?;
    println!("OVMF: {} pages, of which {pages} are its image", launches[0].pages);
    Ok(Status::Passed)
}

fn no_metadata(_: &Context) -> Result<Status> {
    let mut agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    let script = Script::reports(INTERVAL);
    let mut other = Qemu::start("other", &script)?;
    let images = [
        (flash::without_metadata(&script)?, "Failed to locate SEV metadata header"),
        (flash::without_table(&script)?, "failed to locate and/or save reset vector"),
    ];
    // The other VM's, and one of each that fails.
    let mut made = 1;
    for (image, why) in images {
        for program in [QEMU_10, QEMU_11] {
            made += 1;
            let machine = Machine::with_image("no-metadata", image.clone()).with(program);
            let (mut qemu, _) = machine.spawn()?;
            let status = qemu.wait()?;
            let log = qemu.log()?;
            ensure!(status.code() == Some(1) && log.contains(why), "{program}: {status}: {log}");
            println!("{program}: {}", log.lines().last().unwrap_or_default());
            wait_until("its guest context has gone", LIMIT, || {
                let firmware = Firmware::read()?.since(&before);
                Ok(firmware.count(SNP_DECOMMISSION) == made - 1)
            })?;
            let contexts = Firmware::read()?.since(&before).count(SNP_GCTX_CREATE);
            ensure!(contexts == made, "{contexts} guest contexts of {made} VMs");
            // Its launch never ended.
            ensure!(!is_known("no-metadata")?, "guestreq vms shows a VM that was never launched");
        }
    }
    agent.wait_until("no launch runs", |metrics| metrics.is_zero("guestreq_launches", &[]))?;
    other.wait_for_answers(3)?;
    other.execute("stop")?;
    assert_exact(&agent, &before)?;
    Ok(Status::Passed)
}
