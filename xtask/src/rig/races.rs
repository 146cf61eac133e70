//! # KCSAN's reports of data races
//!
//! ```text
//! [   12.1] ==================================================================
//! [   12.1] BUG: KCSAN: data-race in order_enter [guestreq_gate] / order_read [guestreq_gate]
//! [   12.1] write to 0xffff888100f0a0c8 of 8 bytes by task 88 on cpu 0: …
//! [   12.1] ==================================================================
//! ```
//!
//! The kernel has many races that its developers accept. So a boot fails for those of the gate, and
//! the others are only counted. A race is the gate's if it, or what it called for that, made one of
//! the two accesses: not if an interrupt came while the gate ran, or the scheduler while it waited.

use std::collections::BTreeMap;

const RULE: &str = "==================";
const TITLE: &str = "BUG: KCSAN: ";
/// What the kernel writes before the stack of an access.
const ACCESS: &str = " bytes by ";
/// As the kernel marks a function of it.
const GATE: &str = "[guestreq_gate]";
/// How deep below the gate a list, a completion or a timer touches the gate's memory.
const FRAMES: usize = 4;

#[derive(Default)]
pub struct Races {
    /// The report whose lines follow.
    open: Option<Race>,
    closed: Vec<Race>,
}

struct Race {
    title: String,
    is_of_gate: bool,
    /// How many more frames of the stack that is read may be of those that made the access.
    frames: usize,
}

impl Race {
    fn line(&mut self, line: &str) {
        if line.contains(ACCESS) {
            self.frames = FRAMES;
        } else if line.contains(" asm_") {
            // An interrupt's entry; the next frame was interrupted.
            self.frames = 0;
        } else if self.frames > 0 {
            self.frames -= 1;
            self.is_of_gate |= line.contains(GATE);
        }
    }
}

impl Races {
    /// Reads a line of the kernel's; whether it is the title of a report.
    pub fn line(&mut self, line: &str) -> bool {
        if let Some((_, title)) = line.split_once(TITLE) {
            // Another report may have cut off the one before.
            self.closed.extend(self.open.take());
            let is_of_gate = title.contains(GATE);
            self.open = Some(Race { title: title.to_owned(), is_of_gate, frames: 0 });
            return true;
        }
        if let Some(race) = &mut self.open {
            race.line(line);
            if line.contains(RULE) {
                self.closed.extend(self.open.take());
            }
        }
        false
    }

    /// The title of the gate's first one.
    pub fn of_gate(&self) -> Option<&str> {
        self.all().find(|race| race.is_of_gate).map(|race| race.title.as_str())
    }

    /// How often each of the others was reported.
    pub fn others(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for race in self.all().filter(|race| !race.is_of_gate) {
            *counts.entry(race.title.as_str()).or_default() += 1;
        }
        counts
    }

    fn all(&self) -> impl Iterator<Item = &Race> {
        self.closed.iter().chain(&self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Races {
        let mut races = Races::default();
        for line in text.lines() {
            races.line(line);
        }
        races
    }

    fn report(title: &str, frames: &[&str]) -> String {
        let frames: Vec<_> = frames.iter().map(|frame| format!("[ 12.1]  {frame}\n")).collect();
        let rule = "[ 12.1] ==================================================================";
        format!(
            "{rule}\n[ 12.1] BUG: KCSAN: data-race in {title}\n[ 12.1]\n\
             [ 12.1] write to 0xffff888100f0a0c8 of 8 bytes by task 88 on cpu 0:\n{}{rule}\n\
             [ 12.2] a later line gate_issue_cmd+0x1/0x2 [guestreq_gate]\n",
            frames.concat()
        )
    }

    const OF_GATE: &str = "order_enter+0x1/0x2 [guestreq_gate]";

    #[test]
    fn a_race_is_the_gate_s_if_the_gate_made_an_access() {
        let kernel = report("tick / tock", &["tick+0x1/0x2"]);
        let below = report("list_add / list_del", &["list_add+0x1/0x2", OF_GATE]);
        let races = read(&(kernel.clone() + &below + &kernel));
        assert_eq!(races.of_gate(), Some("data-race in list_add / list_del"));
        assert_eq!(races.others(), BTreeMap::from([("data-race in tick / tock", 2)]));
        assert_eq!(read(&kernel).of_gate(), None);
    }

    #[test]
    fn what_happens_while_the_gate_runs_or_waits_is_not_the_gate_s() {
        let entry = "asm_sysvec_apic_timer_interrupt+0x1/0x2";
        let interrupted = report("tick / tock", &["tick+0x1/0x2", entry, OF_GATE]);
        let timer = report("timer / order", &["hold_ended+0x1/0x2 [guestreq_gate]", entry]);
        let asleep = ["kvm_arch_vcpu_load+0x1/0x2 [kvm]", "fire", "switch", "schedule", OF_GATE];
        let asleep = report("kvm_arch_vcpu_load [kvm] / notify [kvm]", &asleep);
        assert_eq!(read(&(interrupted + &asleep)).of_gate(), None);
        assert!(read(&timer).of_gate().is_some());
    }

    #[test]
    fn a_report_that_is_cut_off_counts() {
        let cut = "[ 1.0] BUG: KCSAN: data-race in order_read [guestreq_gate] / grant\n";
        assert_eq!(read(cut).of_gate(), Some("data-race in order_read [guestreq_gate] / grant"));
        let kernel = report("tick / tock", &["tick+0x1/0x2"]);
        assert!(read(&(cut.to_owned() + &kernel)).of_gate().is_some());
    }
}
