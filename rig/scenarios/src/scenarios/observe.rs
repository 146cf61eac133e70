//! # What the agent observes
//!
//! One boot for counts, times, names and losses.

use super::{
    cost, counting, guests, launch_load, losses, operation, skipped_probes, stages, vm_names,
};
use crate::scenario::Group;

pub const GROUP: Group = Group {
    name: "observe",
    memory_mib: 3072,
    scenarios: &[
        counting::COUNTS_EQUAL_THE_FIRMWARE,
        stages::ADD_UP,
        stages::BUSY_TIME,
        stages::VM_LOCK,
        stages::PSP_QUEUE,
        guests::SEQUENCE_NUMBERS,
        guests::VMPCKS,
        guests::EXTENDED,
        guests::CERTIFICATES,
        guests::HOST_ERRORS,
        guests::EXIT_MID_REQUEST,
        guests::ORDINARY,
        launch_load::COUNTS,
        launch_load::PAGE_TIME,
        launch_load::REFUSED_PAGE,
        launch_load::VANISHED,
        losses::LOST_RETURN,
        losses::MISSED_PROBES,
        skipped_probes::START,
        operation::STOPS_CLEANLY,
        cost::BPF_TIME,
    ],
    once: &[
        counting::TWO_HUNDRED_VMS,
        guests::HOSTILE_HEADERS,
        counting::EVERY_STATUS,
        vm_names::VMMS,
        vm_names::OTHER_NAME,
        vm_names::SAME_NAME,
        vm_names::RETENTION,
        losses::NO_PROBE,
        losses::VM_TABLE,
        losses::THREAD_TABLE,
        losses::SEVERAL_VMS,
        losses::RING_BUFFER,
        losses::MISSED_EXIT,
        operation::METRICS_ARE_CLEAN,
        operation::COMMAND_LINE,
        operation::BAD_INPUT,
    ],
    ..Group::DEFAULT
};
