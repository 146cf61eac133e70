//! # Cost of a scrape
//!
//! Fills records as the programs do, in memory mapped like theirs; the agent's own code reads and
//! renders them. `cargo xtask bench` runs the ignored measurement.

use std::{
    fs::{self, File},
    io::Write as _,
    os::fd::{AsFd as _, FromRawFd as _, OwnedFd},
};

use guestreq_common::{
    host::Host,
    launch::{self, EndedLaunch, LaunchState},
    message::MESSAGE_TYPES,
    outcome::OUTCOMES,
    vm::{Life, VmRef},
};
use prometheus::TextEncoder;
use serde_json::json;

use super::*;
use crate::bpf::records::Records;

const RUNS: usize = 200;
const COUNTS: [usize; 4] = [1, 10, 100, 500];
/// A value with as many digits as real counters reach.
const COUNT: u64 = 1_234_567;

/// A host's VMs, with what reading and rendering needs.
struct Hosted {
    records: Records,
    tracked: Vec<TrackedVm>,
}

/// A mappable file with these bytes.
fn memory(bytes: &[u8]) -> OwnedFd {
    // SAFETY: a new descriptor, of a name that outlives the call.
    let fd = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"records".as_ptr(), 0)) };
    let mut file = File::from(fd);
    file.write_all(bytes).expect("memory");
    // Mappings consist of whole pages.
    file.set_len((bytes.len() as u64).next_multiple_of(4096)).expect("memory");
    file.into()
}

fn bytes_of<T>(records: &[T]) -> &[u8] {
    let size = std::mem::size_of_val(records);
    // SAFETY: records consist of integers without padding, and live as long as the slice.
    unsafe { std::slice::from_raw_parts(records.as_ptr().cast(), size) }
}

/// Fills the record of an ordinary VM, or of one that sends every message type.
fn fill(vm: &mut Vm, hostile: bool) {
    vm.generation = 1;
    vm.life = Life::Running as u32;
    vm.duration.fill(COUNT);
    vm.stage_ns.fill(COUNT << 20);
    vm.psp_ns.fill(COUNT << 20);
    let kinds: &[MessageType] = if hostile { &MessageType::ALL } else { &MessageType::ORDINARY };
    for &kind in kinds {
        for outcome in Outcome::all().take(if hostile { OUTCOMES } else { 1 }) {
            *vm.requests(kind as u8).cell(outcome) = COUNT;
        }
    }
}

impl Hosted {
    fn new(vms: usize, hostile: bool) -> Hosted {
        // SAFETY: records consist of integers, for which all zeros is a value.
        let mut records: Box<[Vm]> = unsafe { Box::new_zeroed_slice(vms).assume_init() };
        records.iter_mut().for_each(|vm| fill(vm, hostile));
        // SAFETY: as above.
        let mut host: Box<Host> = unsafe { Box::new_zeroed().assume_init() };
        for kind in 0..MESSAGE_TYPES as u8 {
            host.totals.message(kind).results.cell(Outcome::OK).clone_from(&COUNT);
            host.totals.message(kind).stage.iter_mut().for_each(|slots| slots.fill(COUNT));
        }
        let launches = [EndedLaunch::default(); launch::HISTORY as usize];
        let maps =
            [bytes_of(std::slice::from_ref(&*host)), bytes_of(&records), &[], bytes_of(&launches)];
        let maps = maps.map(memory);
        let maps = maps.each_ref().map(OwnedFd::as_fd);
        let records = Records::over(maps, [vms, 1]).expect("a mapping");
        let tracked = (0..vms).map(|slot| {
            let name = match hostile {
                true => format!("{slot}\"\n\\\u{1b}[31m{}", "x\"".repeat(2000)),
                false => format!("worker-{slot}"),
            };
            let identity = Identity {
                name: name.clone(),
                uuid: format!("6fe2b8a0-0000-4000-8000-{slot:012}"),
                vmm: "qemu".to_owned(),
                namespace: "production".to_owned(),
                pod_uid: format!("9b1c7c52-0000-4000-8000-{slot:012}"),
                ..Identity::default()
            };
            TrackedVm { id: VmRef::new(slot, 1), ..TrackedVm::of(&host::clean(&name), identity) }
        });
        Hosted { records, tracked: tracked.collect() }
    }

    fn scrape(&mut self) -> String {
        let mut families = Families::default();
        let vms = self.tracked.iter().map(|vm| self.records.vm(vm.id.index())).collect();
        let host = self.records.host().expect("a record");
        let snapshot = Snapshot { host, vms, sample: Default::default(), order: Ok(None) };
        of_host(&mut families, &snapshot);
        for (tracked, record) in self.tracked.iter_mut().zip(&snapshot.vms) {
            let record = record.as_ref().expect("a record");
            vm(&mut families, tracked, record, MonotonicNs(COUNT));
        }
        TextEncoder::new().encode_to_string(&families.finish()).expect("a text")
    }

    /// Median and p99 of many scrapes in ms of CPU time, and the size of the text in bytes. Wall time
    /// would include other processes' work.
    fn measure(&mut self) -> (f64, f64, usize) {
        let bytes = self.scrape().len();
        let mut times: Vec<f64> = (0..RUNS)
            .map(|_| {
                let start = host::clock_ns(libc::CLOCK_THREAD_CPUTIME_ID);
                assert_eq!(self.scrape().len(), bytes);
                (host::clock_ns(libc::CLOCK_THREAD_CPUTIME_ID) - start) as f64 / 1e6
            })
            .collect();
        times.sort_unstable_by(f64::total_cmp);
        (times[RUNS / 2], times[RUNS * 99 / 100], bytes)
    }
}

/// Resident memory of this process, in MiB.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("our own status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}

#[test]
#[ignore = "a measurement"]
fn a_scrape_of_500_vms() {
    let mut figures = json!({ "scrapes": RUNS });
    let mut hosted = Hosted::new(500, false);
    let (median, p99, bytes) = hosted.measure();
    figures["scrape_500_vms_ms"] = median.into();
    figures["scrape_500_vms_p99_ms"] = p99.into();
    figures["scrape_500_vms_bytes"] = bytes.into();
    figures["rss_500_vms_mib"] = resident().into();
    drop(hosted);
    let (median, _, bytes) = Hosted::new(500, true).measure();
    figures["scrape_500_hostile_vms_ms"] = median.into();
    figures["scrape_500_hostile_vms_bytes"] = bytes.into();
    println!("BENCH {figures}");
    for (hostile, content) in [(false, "ordinary"), (true, "hostile")] {
        for vms in COUNTS {
            let (median_ms, p99_ms, bytes) = Hosted::new(vms, hostile).measure();
            println!(
                "BENCH {}",
                json!({ "growth_scrape": {
                    "vms": vms, "content": content, "median_ms": median_ms, "p99_ms": p99_ms,
                    "bytes": bytes,
                }})
            );
        }
    }
}

#[test]
fn a_hostile_vm_s_series_are_rendered_as_an_ordinary_one_s() {
    let (ordinary, hostile) = (Hosted::new(2, false).scrape(), Hosted::new(2, true).scrape());
    assert!(ordinary.contains("guestreq_vm_info{") && ordinary.contains("worker-1"));
    let series = |text: &str| text.lines().filter(|line| line.contains("vm=\"")).count() / 2;
    assert!(series(&ordinary) <= 60, "{}", series(&ordinary));
    assert!(series(&hostile) <= 160, "{}", series(&hostile));
}

/// Row 7 of the second review.
#[test]
fn failures_are_there_before_the_first_so_that_it_is_a_rise() {
    let text = Hosted::new(1, false).scrape();
    for message in ["report", "key", "tsc_info"] {
        let series =
            format!("guestreq_messages_total{{message=\"{message}\",result=\"host_error\"}} 0\n");
        assert!(text.contains(&series), "{series}");
    }
    assert!(text.contains("guestreq_psp_commands_total{command=\"snp_guest_request\"} 0\n"));
}

#[test]
fn rescues_of_vms_without_a_record_count_for_the_host() {
    let mut hosted = Hosted::new(1, false);
    let mut host = hosted.records.host().expect("a record");
    host.totals.rescued = 3;
    hosted.records.fake_host(&host);
    let text = hosted.scrape();
    assert!(text.contains("guestreq_messages_rescued_total 3\n"), "{text}");
}

/// Alerts on a host's first failed launch need its series at 0; docs/fleets.md has the number.
#[test]
fn a_host_s_launches_are_28_series() {
    let hosted = Hosted::new(1, false);
    let mut families = Families::default();
    let mut totals = hosted.records.host().expect("a record").totals.launches;
    totals.ended[LaunchState::Failed as usize] = 3;
    totals.duration[0] = 2;
    launches::of_host(&mut families, &totals);
    launches::running(&mut families, (1, 2));
    let text = TextEncoder::new().encode_to_string(&families.finish()).expect("a text");
    assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 28, "{text}");
    for line in [
        "guestreq_launches{state=\"stalled\"} 2\n",
        "guestreq_launches_total{result=\"failed\"} 3\n",
        "guestreq_launches_total{result=\"process_exited\"} 0\n",
        "guestreq_launch_duration_seconds_bucket{le=\"0.0005\"} 2\n",
        "guestreq_launch_duration_seconds_bucket{le=\"1200\"} 2\n",
        "guestreq_launch_stage_seconds_total{stage=\"vmm\"} 0\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}
