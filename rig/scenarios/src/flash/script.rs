//! # What a guest does: `struct guest_script` of snpsim/guest-script.h

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

const MAGIC: &[u8; 8] = b"SNPGUEST";
const VERSION: u32 = 2;
const MOST_REQUESTS: usize = 32;
/// What the APIC's timer can count, in ns.
const LONGEST_INTERVAL: Duration = Duration::from_secs(4);

/// A report, requested with VMPCK 0.
const REPORT: Request = Request { kind: 5, vmpck: 0, extended: false };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub kind: u8,
    pub vmpck: u8,
    pub extended: bool,
}

#[derive(Clone, Debug)]
pub struct Script {
    pub interval: Duration,
    /// After how many requests of a vCPU it is over; 0: it has no end.
    pub count: u32,
    /// How long it waits after BUSY.
    pub retry: Duration,
    /// When it wipes a VMPCK whose request is BUSY; 0: never.
    pub give_up: Duration,
    /// Whether it wipes a VMPCK after an error.
    pub wipe_on_error: bool,
    /// How many vCPUs send these requests; the second uses VMPCKs two further.
    pub vcpus: u8,
    /// When it is over a vCPU spins, and never responds again; otherwise it asks to be terminated.
    pub spins: bool,
    /// Its pages are shared by its GHCB, not by the MSR protocol.
    pub shares_by_ghcb: bool,
    /// Sent in turn.
    pub requests: Vec<Request>,
}

impl Script {
    /// Reports without end; one that is BUSY is repeated at the next interval, other errors are
    /// ignored.
    pub fn reports(interval: Duration) -> Script {
        Script {
            interval,
            count: 0,
            retry: Duration::ZERO,
            give_up: Duration::ZERO,
            wipe_on_error: false,
            vcpus: 1,
            spins: false,
            shares_by_ghcb: false,
            requests: vec![REPORT],
        }
    }

    /// With as many requests.
    pub fn count(self, count: u32) -> Script {
        Script { count, ..self }
    }

    /// With other requests: type and VMPCK.
    pub fn requests(self, requests: &[(u8, u8)]) -> Script {
        let request = |(kind, vmpck): &(u8, u8)| Request { kind: *kind, vmpck: *vmpck, ..REPORT };
        Script { requests: requests.iter().map(request).collect(), ..self }
    }

    /// With extended requests.
    pub fn extended(mut self) -> Script {
        self.requests.iter_mut().for_each(|request| request.extended = true);
        self
    }

    /// As Linux' snp_send_guest_request() behaves: BUSY is repeated after 2 s, and the VMPCK wiped
    /// after 60 s or any other error.
    pub fn like_linux(self) -> Script {
        let (retry, give_up) = (Duration::from_secs(2), Duration::from_secs(60));
        Script { retry, give_up, wipe_on_error: true, ..self }
    }

    pub fn bytes(&self) -> Result<Vec<u8>> {
        let us = |time: Duration| u32::try_from(time.as_micros()).context("longer than an hour");
        let requests = self.requests.len();
        ensure!((1..=MOST_REQUESTS).contains(&requests), "{requests} requests");
        ensure!(
            self.interval > Duration::ZERO && self.interval <= LONGEST_INTERVAL,
            "an interval of {:?}",
            self.interval
        );
        let mut bytes = MAGIC.to_vec();
        let numbers = [VERSION, us(self.interval)?, self.count, us(self.retry)?, us(self.give_up)?];
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        let how = [self.vcpus, self.spins.into(), self.shares_by_ghcb.into()];
        bytes.extend([u8::from(self.wipe_on_error), requests as u8]);
        bytes.extend(how.iter().chain(&[0; 3]));
        for i in 0..MOST_REQUESTS {
            bytes.extend(match self.requests.get(i) {
                Some(request) => [request.kind, request.vmpck, u8::from(request.extended), 0],
                None => [0; 4],
            });
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const HEADER: &str = include_str!("../../../snpsim/guest-script.h");

    /// Offset and size of each member of a struct in the C header, and the size of the whole.
    fn layout(name: &str) -> (BTreeMap<&'static str, (usize, usize)>, usize) {
        let begin = HEADER.split_once(&format!("\nstruct {name} {{\n")).expect("the struct").1;
        let (mut members, mut offset) = (BTreeMap::new(), 0);
        for line in begin.lines().take_while(|line| *line != "};") {
            let declaration = line.trim().split_once(';').expect("a member").0;
            let (kind, member) = declaration.rsplit_once(' ').expect("type and name");
            let size = match kind {
                "__u8" => 1,
                "__u32" => 4,
                other => layout(other.strip_prefix("struct ").expect("a known type")).1,
            };
            assert_eq!(offset % size.min(4), 0, "the compiler pads before {member}");
            let (member, count) =
                member.trim_end_matches(']').split_once('[').unwrap_or((member, "1"));
            let count = count.parse().unwrap_or_else(|_| define(count) as usize);
            members.insert(member, (offset, size * count));
            offset += size * count;
        }
        (members, offset)
    }

    fn define(name: &str) -> u64 {
        let line = HEADER.lines().find_map(|line| line.strip_prefix(&format!("#define {name}\t")));
        let value = line.expect("the constant").trim();
        match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
            None => value.parse().unwrap(),
        }
    }

    #[test]
    fn the_bytes_are_laid_out_as_the_module_s_struct() {
        let script = Script {
            interval: Duration::from_micros(0x0011_2233),
            count: 0x4455_6677,
            retry: Duration::from_micros(0x8899_aabb),
            give_up: Duration::from_micros(0xccdd_eeff),
            wipe_on_error: true,
            vcpus: 2,
            spins: true,
            shares_by_ghcb: true,
            requests: vec![REPORT, Request { kind: 17, vmpck: 3, extended: true }],
        };
        let bytes = script.bytes().unwrap();
        let (members, size) = layout("guest_script");
        assert_eq!(bytes.len(), size);
        let number = |at: usize, size: usize| {
            bytes[at..at + size].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let member = |name: &str| number(members[name].0, members[name].1);
        assert_eq!(&bytes[members["magic"].0..][..8], b"SNPGUEST");
        assert!(HEADER.contains("GUEST_SCRIPT_MAGIC\t\"SNPGUEST\"\n"));
        assert_eq!(member("version"), define("GUEST_SCRIPT_VERSION"));
        assert_eq!(member("interval_us"), 0x0011_2233);
        assert_eq!(member("count"), 0x4455_6677);
        assert_eq!(member("retry_us"), 0x8899_aabb);
        assert_eq!(member("give_up_us"), 0xccdd_eeff);
        assert_eq!((member("wipe_on_error"), member("requests")), (1, 2));
        let how = ["vcpus", "spins", "shares_by_ghcb", "pad"].map(member);
        assert_eq!(how, [2, 1, 1, 0]);
        let (of_request, each) = layout("guest_request");
        for (i, expected) in [[5, 0, 0], [17, 3, 1], [0, 0, 0]].into_iter().enumerate() {
            let at = members["request"].0 + i * each;
            let field = |name: &str| number(at + of_request[name].0, of_request[name].1);
            assert_eq!(["type", "vmpck", "extended"].map(field), expected, "request {i}");
        }
        assert_eq!(define("GUEST_SCRIPT_GPA"), 0xffff_f000);
        assert_eq!(define("GUEST_SCRIPT_OVMF_GPA"), 0xffc4_2000);
    }

    #[test]
    fn a_script_that_the_guest_could_not_follow_is_an_error() {
        let script = Script::reports(Duration::from_millis(1));
        script.bytes().unwrap();
        script.clone().requests(&[(5, 0); MOST_REQUESTS]).bytes().unwrap();
        script.clone().requests(&[(5, 0); MOST_REQUESTS + 1]).bytes().unwrap_err();
        script.clone().requests(&[]).bytes().unwrap_err();
        Script::reports(Duration::ZERO).bytes().unwrap_err();
        Script::reports(Duration::from_millis(4001)).bytes().unwrap_err();
        Script { give_up: Duration::from_secs(5000), ..script }.bytes().unwrap_err();
    }
}
