mod unfinished;

use guestreq_common::{
    command::{Class, SNP_DECOMMISSION},
    host::Host,
    launch::LaunchState,
    vm::{Life, Vm},
};

use super::*;
use crate::{bpf::records::tests::in_memory, host::Identity};

/// A host with room for VMs and the agent's view of it.
struct Agent {
    records: Records,
    vms: Vec<TrackedVm>,
    launches: Launches,
}

fn vm(slot: usize, generation: u32, launch: Launch, psp_ns: u64) -> (VmRef, Box<Vm>) {
    // SAFETY: a record consists of integers, for which all zeros is a value.
    let mut vm: Box<Vm> = unsafe { Box::new_zeroed().assume_init() };
    (vm.generation, vm.life, vm.tgid) = (generation, Life::Running as u32, 70 + slot as u32);
    (vm.launch, vm.psp_ns[0]) = (launch, psp_ns);
    (VmRef::new(slot, generation), vm)
}

fn launch(state: LaunchState, pages: u64) -> Launch {
    let (started, latest) = (MonotonicNs(1_000), MonotonicNs(5_000));
    Launch { started, latest, pages, state: state as u32, ..Launch::default() }
}

impl Agent {
    fn new() -> Agent {
        let mut agent =
            Agent { records: in_memory(4, 1), vms: Vec::new(), launches: Launches::default() };
        assert!(agent.refresh().is_empty());
        agent
    }

    fn refresh(&mut self) -> Vec<VmEvent> {
        self.refresh_at(5_001, |_| Ok(true))
    }

    fn refresh_at(
        &mut self,
        now: u64,
        process_exists: impl Fn(u32) -> io::Result<bool>,
    ) -> Vec<VmEvent> {
        self.launches.collect(&self.records, &self.vms);
        self.launches.settle(&self.records, &self.vms, now, process_exists)
    }

    /// Slots whose launches are marked as those of an exited process.
    fn orphans(&self) -> Vec<usize> {
        let vms = self.records.slots().map(|(vm, _)| vm);
        let is_orphan =
            |vm: &VmRef| self.records.launch(*vm).is_some_and(|launch| launch.process_exited != 0);
        vms.filter(is_orphan).map(VmRef::index).collect()
    }

    /// A VM's record, and its name in the table.
    fn put(&mut self, slot: usize, name: Option<&str>, launch: Launch, psp_ns: u64) -> VmRef {
        let (id, record) = vm(slot, 1, launch, psp_ns);
        self.records.fake_vm(slot, &record);
        self.vms.retain(|vm| vm.id != id);
        let tracked = |name: &str| TrackedVm { id, ..TrackedVm::of(name, Identity::default()) };
        self.vms.extend(name.map(tracked));
        id
    }

    fn end(&self, number: u64, vm: VmRef, state: LaunchState) {
        let launch = launch(state, number);
        self.records.fake_ended_launch(&EndedLaunch {
            number,
            launch,
            vm,
            tgid: 99,
            ..EndedLaunch::default()
        });
    }

    fn busy(&self, ns: u64) {
        self.busy_with(ns, 0);
    }

    /// SNP_DECOMMISSION's time is part of all.
    fn busy_with(&self, ns: u64, decommission_ns: u64) {
        // SAFETY: a record consists of integers, for which all zeros is a value.
        let mut host: Box<Host> = unsafe { Box::new_zeroed().assume_init() };
        host.totals.commands[0].busy_ns = ns - decommission_ns;
        host.totals.commands[SNP_DECOMMISSION as usize].busy_ns = decommission_ns;
        self.records.fake_host(&host);
    }

    fn pages(&self) -> Vec<u64> {
        self.launches.ended().map(|ended| ended.launch.pages).collect()
    }
}

/// A failed launch's slot is another VM's at once.
#[test]
fn a_launch_that_fails_keeps_its_vm_s_name() {
    let mut agent = Agent::new();
    let web = agent.put(0, Some("web"), launch(LaunchState::Running, 3), 0);
    assert!(agent.refresh().is_empty());
    assert_eq!(agent.launches.counts(5_001), (1, 0));
    agent.vms.clear();
    agent.records.fake_vm(0, &vm(0, 2, Launch::default(), 0).1);
    agent.end(1, web, LaunchState::Failed);
    assert!(agent.launches.is_behind(&agent.records));
    let events = agent.refresh();
    let [(event_vm, EventData::Launched(launched), at)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event_vm.vm.as_deref(), &*launched.result, *at), (Some("web"), "failed", 5_000));
    assert_eq!(agent.launches.counts(5_001), (0, 0));
    assert!(agent.refresh().is_empty() && !agent.launches.is_behind(&agent.records), "only once");
}

#[test]
fn one_that_no_table_ever_named_has_its_process_pid() {
    let mut agent = Agent::new();
    agent.put(0, None, launch(LaunchState::Running, 3), 0);
    agent.refresh();
    assert_eq!(agent.launches.running().map(|it| it.vm.pid).collect::<Vec<_>>(), [70]);
    agent.end(1, VmRef::new(3, 9), LaunchState::Abandoned);
    let events = agent.refresh();
    assert_eq!(
        events.iter().map(|(vm, ..)| (vm.vm.clone(), vm.pid)).collect::<Vec<_>>(),
        [(None, 99)]
    );
}

/// An earlier agent may have reported them.
#[test]
fn launches_before_the_agent_s_start_are_known_but_no_events() {
    let records = in_memory(4, 1);
    let mut agent = Agent { records, vms: Vec::new(), launches: Launches::default() };
    for number in 1..=3 {
        agent.end(number, VmRef::new(1, number as u32), LaunchState::Finished);
    }
    assert!(agent.refresh().is_empty());
    assert_eq!(agent.pages(), [3, 2, 1]);
    assert!(agent.launches.ended().all(|ended| ended.users.is_none()));
    agent.end(4, VmRef::new(1, 4), LaunchState::Finished);
    assert_eq!(agent.refresh().len(), 1);
}

#[test]
fn more_than_the_kernel_keeps_are_reported_as_lost_and_memory_is_bounded() {
    let mut agent = Agent::new();
    let more = u64::from(HISTORY) + 10;
    for number in 1..=more {
        agent.end(number, VmRef::NONE, LaunchState::Failed);
    }
    assert_eq!(agent.refresh().len(), HISTORY as usize);
    assert_eq!(agent.launches.take_lost().map(|lost| lost.count), Some(10));
    assert_eq!(agent.launches.take_lost(), None);
    agent.end(more + 1, VmRef::NONE, LaunchState::Failed);
    agent.refresh();
    assert_eq!(agent.pages().len(), KEPT);
    assert_eq!(agent.pages()[0], more + 1, "the latest first");
}

#[test]
fn a_record_that_is_being_written_is_read_later() {
    let mut agent = Agent::new();
    agent.end(1, VmRef::NONE, LaunchState::Failed);
    let writing = EndedLaunch { number: 2, ..EndedLaunch::default() };
    agent.records.fake_ended_launch(&writing);
    agent.records.fake_unwritten(2);
    assert_eq!(agent.refresh().len(), 1);
    agent.end(2, VmRef::NONE, LaunchState::Failed);
    assert_eq!(agent.refresh().len(), 1);
    assert_eq!(agent.launches.take_lost(), None);
}

#[test]
fn those_that_used_the_psp_most_during_a_launch_are_named() {
    let mut agent = Agent::new();
    let web = agent.put(0, Some("web"), launch(LaunchState::Running, 3), 100);
    agent.put(1, Some("greedy"), launch(LaunchState::Finished, 0), 1_000);
    agent.put(2, Some("idle"), launch(LaunchState::Finished, 0), 7);
    agent.busy(2_000);
    agent.refresh();
    // From here on: web 50, greedy 700, the host 20.
    agent.put(0, Some("web"), launch(LaunchState::Running, 4), 150);
    agent.put(1, Some("greedy"), launch(LaunchState::Finished, 0), 1_700);
    agent.busy(2_770);
    agent.refresh();
    let expected = [(Some("greedy".to_owned()), 700), (None, 20)];
    let users: Vec<_> = agent.launches.running().map(|it| it.users.most()).collect();
    assert_eq!(users, [expected.to_vec()]);
    // It ends after another 5 of idle.
    agent.put(2, Some("idle"), launch(LaunchState::Finished, 0), 12);
    agent.busy(2_775);
    agent.end(1, web, LaunchState::Finished);
    agent.refresh();
    let ended = agent.launches.ended().next().unwrap();
    let users = ended.users.as_ref().unwrap().most();
    assert_eq!(users.last(), Some(&(Some("idle".to_owned()), 5)), "{users:?}");
}

/// Its record, with its VM's time, is cleared before the agent looks.
#[test]
fn the_time_of_a_failed_launch_is_its_own_and_not_the_host_s() {
    let mut agent = Agent::new();
    let web = agent.put(0, Some("web"), launch(LaunchState::Running, 3), 100);
    agent.put(1, Some("other"), launch(LaunchState::Running, 3), 0);
    agent.busy(100);
    agent.refresh();
    agent.records.fake_vm(0, &vm(0, 2, Launch::default(), 0).1);
    agent.busy(170);
    let mut failed = launch(LaunchState::Failed, 3);
    failed.stage_ns[1] = 160;
    let ended = EndedLaunch { number: 1, launch: failed, vm: web, ..EndedLaunch::default() };
    agent.records.fake_ended_launch(&ended);
    agent.refresh();
    let ended = agent.launches.ended().next().unwrap();
    assert_eq!(ended.users.as_ref().unwrap().most(), [(None, 10)]);
    let other = agent.launches.running().next().unwrap();
    assert_eq!(other.users.most(), [(Some("web".to_owned()), 60), (None, 10)]);
}

/// Its record is gone before the agent can read it there.
#[test]
fn the_end_of_a_failed_launch_is_its_own_and_not_the_host_s() {
    let mut agent = Agent::new();
    let web = agent.put(0, Some("web"), launch(LaunchState::Running, 3), 100);
    agent.put(1, Some("other"), launch(LaunchState::Running, 3), 0);
    agent.put(2, Some("exits"), launch(LaunchState::Finished, 3), 0);
    agent.busy(100);
    agent.refresh();
    // The host's commands take 10, the VMs' ends 30 and 40.
    agent.records.fake_vm(0, &vm(0, 2, Launch::default(), 0).1);
    let (_, mut exited) = vm(2, 1, launch(LaunchState::Finished, 3), 0);
    (exited.life, exited.psp_ns[Class::Other as usize]) = (Life::Exited as u32, 40);
    agent.records.fake_vm(2, &exited);
    agent.busy_with(180, 70);
    let mut failed = launch(LaunchState::Failed, 3);
    failed.stage_ns[1] = 100;
    let ended = EndedLaunch { number: 1, launch: failed, vm: web, ..EndedLaunch::default() };
    agent.records.fake_ended_launch(&ended);
    agent.refresh();
    let ended = agent.launches.ended().next().unwrap();
    let exits = (Some("exits".to_owned()), 40);
    assert_eq!(ended.users.as_ref().unwrap().most(), [exits.clone(), (None, 10)]);
    let other = agent.launches.running().next().unwrap();
    assert_eq!(other.users.most(), [exits, (Some("web".to_owned()), 30), (None, 10)]);
    // Once.
    agent.busy_with(185, 70);
    agent.refresh();
    let other = agent.launches.running().next().unwrap();
    assert_eq!(other.users.most()[2], (None, 15));
}

#[test]
fn a_launch_remembers_a_bounded_number_of_others() {
    let mut users = Users::default();
    for i in 0..1_000 {
        let used = users::Used { vm: None, label: Some(format!("vm-{i}")), ns: 1 };
        users.add(&[used], VmRef::NONE);
    }
    let used = users::Used { vm: None, label: Some("greedy".to_owned()), ns: 5_000 };
    users.add(&[used], VmRef::NONE);
    assert_eq!(users.most()[0], (Some("greedy".to_owned()), 5_000));
    let total: u64 = users.most().iter().map(|(_, ns)| ns).sum();
    assert!((5_900..=6_000).contains(&total), "{total}: what was folded counts as the host's");
}

#[test]
fn a_launch_without_a_command_for_a_minute_is_stalled() {
    let mut agent = Agent::new();
    agent.put(0, Some("web"), launch(LaunchState::Running, 3), 0);
    agent.refresh();
    assert_eq!(agent.launches.counts(5_000 + STALLED_NS - 1), (1, 0));
    assert_eq!(agent.launches.counts(5_000 + STALLED_NS), (0, 1));
}
