//! # A short deterministic fuzz run
//!
//! All seeds, all findings, and some thousand mutants of them, without coverage guidance (`cargo
//! xtask fuzz`). They are the same each time, so that only a change that breaks something fails.

use std::{
    collections::BTreeSet,
    env, fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

use proptest::{
    prelude::Rng as _,
    test_runner::{RngAlgorithm, TestRng},
};

use crate::docs::root;

type Trial = fn(&[u8]);

const TARGETS: [(&str, Trial); 7] = [
    ("api", super::api),
    ("config", super::config),
    ("decisions", super::decisions),
    ("message", super::message),
    ("overrides", super::overrides),
    ("pins", super::pins),
    ("processes", super::processes),
];

/// Mutants for each target.
const MADE: usize = 2000;
/// In bytes.
const MAX: usize = 4096;

fn folder(of: &str) -> PathBuf {
    root().join("fuzz").join(of)
}

/// Files of a folder, sorted; none without the folder.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths: BTreeSet<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn kept(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let seeds = files(&folder("seeds").join(target));
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds.into_iter().chain(files(&folder("found").join(target))).collect()
}

#[test]
fn whatever_was_found_stays_mended() {
    for (name, target) in TARGETS {
        for (path, input) in kept(name) {
            let done = panic::catch_unwind(|| target(&input));
            assert!(done.is_ok(), "{} fails", path.display());
        }
    }
}

#[test]
fn no_input_that_is_made_of_those_breaks_a_promise() {
    for (name, target) in TARGETS {
        let kept: Vec<_> = kept(name).into_iter().map(|(_, input)| input).collect();
        let mut random = TestRng::from_seed(RngAlgorithm::XorShift, b"one run, always.");
        for number in 0..MADE {
            let input = made_of(&kept, &mut random);
            let done = panic::catch_unwind(AssertUnwindSafe(|| target(&input)));
            if done.is_err() {
                let path = folder("found").join(name).join(format!("made-{number}"));
                // A failed mutant is not saved as a finding.
                if env::var_os("GUESTREQ_MUTANT").is_none() {
                    fs::create_dir_all(folder("found").join(name)).unwrap();
                    fs::write(&path, &input).unwrap();
                }
                panic!("{name} fails for what is now in {}", path.display());
            }
        }
    }
}

/// A mutant of one of them.
fn made_of(kept: &[Vec<u8>], random: &mut TestRng) -> Vec<u8> {
    let mut below = |limit: usize| random.next_u32() as usize % limit.max(1);
    let mut input = kept[below(kept.len())].clone();
    for _ in 0..=below(4) {
        let at = below(input.len());
        match below(5) {
            0 if !input.is_empty() => input[at] ^= 1 << below(8),
            1 if !input.is_empty() => input[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\n'][below(7)],
            2 => drop(input.drain(at..(at + below(16)).min(input.len()))),
            3 => input.insert(at, below(256) as u8),
            _ => {
                let other = &kept[below(kept.len())];
                let from = below(other.len());
                let part = other[from..(from + below(64)).min(other.len())].to_vec();
                input.splice(at..at, part);
            }
        }
    }
    input.truncate(MAX);
    input
}

#[test]
fn each_target_is_one_that_cargo_fuzz_runs() {
    let names = |of: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(folder(of)).unwrap();
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        entries.map(|entry| stem(entry.unwrap().path())).collect()
    };
    let all: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz_targets"), all);
    assert_eq!(names("seeds"), all);
    assert!(names("found").is_subset(&all), "cases of no target");
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in &all {
        let call = format!("guestreq::fuzz::{name}(data)");
        let target = folder("fuzz_targets").join(format!("{name}.rs"));
        assert!(fs::read_to_string(target).unwrap().contains(&call), "{name} calls another");
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is not built");
    }
}
