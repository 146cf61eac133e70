//! # Slots of VMs

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, Stack};
use guestreq_common::vm::Life;

use super::Programs;
use crate::bpf::{realtime::RealtimeGuard, records::Records};

impl Programs {
    /// Fills FREE_SLOTS of new maps. In adopted ones, adds slots that an agent may have died before
    /// adding.
    pub fn fill_free_slots(&mut self, records: &Records) -> Result<()> {
        if records.are_new() {
            // Another version's programs may be attached and count.
            let _realtime = RealtimeGuard::begin();
            // An agent may have died here; none of this version's programs is attached yet.
            while self.free_slots()?.pop(0).is_ok() {}
            // The lowest slot on top, so that unused slots stay together at the end.
            for slot in (0..self.max_vms).rev() {
                let _ = self.free_slots()?.push(slot, 0);
            }
            records.sign(&self.words);
            return Ok(());
        }
        for slot in 0..records.max_vms() {
            let Some((_, state)) = records.peek(slot) else { break };
            if state.is(Life::Clearing) {
                let _realtime = RealtimeGuard::begin();
                let _ = self.free_slots()?.push(slot as u32, 0);
                records.set_free(slot);
            }
        }
        Ok(())
    }

    fn free_slots(&mut self) -> Result<Stack<&mut MapData, u32>> {
        let map = self.ebpf.map_mut("FREE_SLOTS").context("no map FREE_SLOTS")?;
        Ok(Stack::try_from(map)?)
    }

    /// Returns a slot that its VM no longer needs.
    pub fn free_slot(&mut self, slot: u32) -> Result<()> {
        let _realtime = RealtimeGuard::begin();
        self.free_slots()?.push(slot, 0).with_context(|| format!("freeing slot {slot}"))
    }

    pub fn capacity(&self, map: &str) -> Option<u32> {
        match self.ebpf.map(map)? {
            Map::HashMap(data) | Map::Array(data) => {
                data.info().ok().map(|info| info.max_entries())
            }
            _ => None,
        }
    }
}
