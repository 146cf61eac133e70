//! # The gate's order in user space
//!
//! gate/tests simulates what the order promises, and runs it with threads under ThreadSanitizer. That
//! needs a C compiler with sanitizers: without one the tests fail, unless [`SKIP`] is set.

mod plot;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use plot::{Curve, Plot};

use crate::project;

/// What is tested, unchanged.
const SOURCES: [&str; 4] = ["order.c", "order_queue.c", "launch_hold.c", "order_stats.c"];
const WARNINGS: [&str; 6] = [
    "-std=gnu11",
    "-Wall",
    "-Wextra",
    "-Werror",
    // The kernel has neither.
    "-Wno-sign-compare",
    "-Wno-unused-parameter",
];

/// An environment variable with which these tests pass without running.
const SKIP: &str = "GUESTREQ_SKIP_SANITIZERS";
const COMPILER: &str = "cc";

fn gate() -> PathBuf {
    project::root().join("gate")
}

/// For each `<linux/…>` that the sources include, one that includes tests/kernel.h.
fn fake_headers(folder: &Path) {
    let read = |name: &&str| fs::read_to_string(gate().join(name)).unwrap();
    let text: String = SOURCES.iter().chain(&["order.h"]).map(read).collect();
    let headers: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("#include <linux/")?.strip_suffix('>'))
        .collect();
    fs::create_dir_all(folder.join("linux")).unwrap();
    for header in headers {
        fs::write(folder.join("linux").join(header), "#include \"kernel.h\"\n").unwrap();
    }
}

/// A folder of its own for each test's program.
fn folder(name: &str) -> PathBuf {
    let folder = project::target().join("order-tests").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn compile(
    compiler: &str,
    folder: &Path,
    sanitizer: &str,
    sources: &[PathBuf],
) -> Result<PathBuf, String> {
    let program = folder.join("program");
    let mut cc = Command::new(compiler);
    cc.args(WARNINGS).args(["-g", "-O1", "-pthread", "-fno-sanitize-recover=all"]);
    cc.arg(format!("-fsanitize={sanitizer}"));
    cc.arg("-I").arg(folder).arg("-I").arg(gate()).arg("-I").arg(gate().join("tests"));
    cc.args(sources).arg("-o").arg(&program);
    let output = cc.output().map_err(|error| format!("{compiler}: {error}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(program) } else { Err(stderr.into_owned()) }
}

/// Builds and starts a program with this sanitizer; otherwise says in one line what is missing. Each
/// test has its own `folder`.
fn ensure_sanitizer(compiler: &str, sanitizer: &str, folder: &Path) -> Result<(), String> {
    let source = folder.join("main.c");
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let start = |program| {
        let output = Command::new(program).output().map_err(|error| error.to_string())?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(stderr) }
    };
    compile(compiler, folder, sanitizer, &[source]).and_then(start).map_err(|error| {
        let why = error.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed");
        format!(
            "no C compiler with -fsanitize={sanitizer} that works here ({why}): install \
             build-essential (Debian, Ubuntu), or gcc, libasan, libubsan and libtsan (Fedora); or skip \
             these tests with {SKIP}=1. See docs/testing.md#prerequisites"
        )
    })
}

/// Compiles a test with the kernel's sources that it needs, runs it, and returns what it says;
/// None if these tests are to be skipped.
fn run(name: &str, sanitizer: &str, more: &[&str]) -> Option<String> {
    if std::env::var_os(SKIP).is_some() {
        eprintln!("skipped: {SKIP} is set");
        return None;
    }
    let probe = folder(&format!("{name}-sanitizer"));
    ensure_sanitizer(COMPILER, sanitizer, &probe).unwrap_or_else(|missing| panic!("{missing}"));
    let folder = folder(name);
    fake_headers(&folder);
    let test = format!("tests/{name}.c");
    let files = [&[test.as_str()], more].concat();
    let sources: Vec<_> = files.iter().map(|file| gate().join(file)).collect();
    let program = compile(COMPILER, &folder, sanitizer, &sources);
    let program = program.unwrap_or_else(|error| panic!("{error}"));
    let output = Command::new(program).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{stdout}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{stderr}", output.status);
    Some(stdout)
}

#[test]
fn a_missing_compiler_or_sanitizer_is_a_failure_that_says_what_to_install() {
    let folder = folder("missing");
    for (compiler, sanitizer, why) in [
        ("no-such-compiler", "thread", "no-such-compiler: No such file"),
        // It succeeds, but compiles nothing.
        ("true", "thread", "No such file"),
        ("false", "thread", "it failed"),
    ] {
        let missing = ensure_sanitizer(compiler, sanitizer, &folder).unwrap_err();
        assert!(missing.contains(why) && missing.contains("install build-essential"), "{missing}");
        assert_eq!(missing.lines().count(), 1, "{missing}");
    }
}

const SIMULATED: [&str; 3] = ["tests/simulation.c", "order_queue.c", "launch_hold.c"];

#[test]
fn the_order_is_fair() {
    run("fair_test", "address,undefined", &SIMULATED);
}

#[test]
fn a_launch_is_held_for_but_requests_keep_their_part() {
    run("launch_test", "address,undefined", &SIMULATED);
}

#[test]
fn no_waiter_is_lost_and_no_data_is_shared_without_the_lock() {
    run("order_test", "thread", &[&["tests/runtime.c"], &SOURCES[..]].concat());
}

/// The numbers of a column; of two, the first.
fn column(table: &str, column: usize) -> Vec<f64> {
    let cell = |line: &str| line.split('|').nth(column).unwrap().trim().to_owned();
    let number = |cell: String| cell.split([',', ' ']).next().unwrap().parse().unwrap();
    table.lines().map(|line| number(cell(line))).collect()
}

fn picture(table: &str) -> String {
    let curve = |name, colour, at| Curve { name, colour, values: column(table, at) };
    let plots = [
        Plot {
            title: "p50 of a VM that sends two requests a second",
            decades: 0..=3,
            unit: "ms",
            curves: vec![
                curve("without the order", "#b00020", 3),
                curve("with the order", "#0060c0", 2),
            ],
        },
        Plot {
            title: "Launch of 256 pages",
            decades: -1..=3,
            unit: "s",
            curves: vec![
                curve("without the order", "#b00020", 6),
                curve("without the launch hold", "#a06000", 5),
                curve("with the order", "#0060c0", 4),
            ],
        },
    ];
    let xs: Vec<_> = column(table, 1).iter().map(f64::to_string).collect();
    plot::svg(&xs, &plots)
}

#[test]
fn the_documented_figures_are_the_simulation_s() {
    let Some(table) = run("figures", "address,undefined", &SIMULATED) else { return };
    assert!(table.lines().count() >= 5, "{table}");
    let documented = fs::read_to_string(project::root().join("docs/order.md")).unwrap();
    assert!(documented.contains(&table), "docs/order.md has another table than\n{table}");
    let (path, drawn) = (project::root().join("docs/pictures/order.svg"), picture(&table));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &drawn).unwrap();
    }
    let current = fs::read_to_string(&path).unwrap_or_default() == drawn;
    assert!(current, "docs/pictures/order.svg: UPDATE_DOCS=1 cargo test -p xtask order");
}
