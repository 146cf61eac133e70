//! # A container's devices and shares of the node

use anyhow::Result;
use serde_json::Value;

use crate::manifest::{bytes, millicores, only};
use crate::messages::LinuxContainerResources;
use crate::messages::container::Device;

pub fn device(path: &str) -> Device {
    let path = path.to_owned();
    Device { container_path: path.clone(), host_path: path, permissions: "rwm".into() }
}

pub fn of(wanted: &Value) -> Result<LinuxContainerResources> {
    const PERIOD: i64 = 100_000;
    only(wanted, "resources", &["requests", "limits"])?;
    let (limits, requests) = (&wanted["limits"], &wanted["requests"]);
    let cpu = millicores(&requests["cpu"])?.or(millicores(&limits["cpu"])?);
    let quota = millicores(&limits["cpu"])?.map_or(0, |milli| (milli * PERIOD / 1000).max(1000));
    Ok(LinuxContainerResources {
        cpu_period: PERIOD,
        cpu_quota: quota,
        cpu_shares: cpu.map_or(2, |milli| (milli * 1024 / 1000).max(2)),
        memory_limit_in_bytes: bytes(&limits["memory"])?.unwrap_or(0),
        // Between a guaranteed pod's and the first to be killed, as of any burstable pod that requests
        // little of the node's memory.
        oom_score_adj: if wanted.is_null() { 1000 } else { 990 },
    })
}
