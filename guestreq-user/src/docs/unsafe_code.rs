//! # docs/unsafe.md
//!
//! Lists all unsafe code with its SAFETY comments, which Clippy requires.

use std::{fmt::Write as _, fs, path::Path};

use super::{assert_current, root};

const CRATES: [(&str, &str); 8] = [
    ("guestreq-common", "Shared by the programs and the agent."),
    ("guestreq-ebpf", "The programs. The verifier checks each access again."),
    ("guestreq-user", "The agent and the command line."),
    ("fuzz", "The fuzz targets."),
    ("xtask", "Builds and tests; not shipped."),
    ("rig/snpload", "Makes VMs in the rig; not shipped."),
    ("rig/scenarios", "The rig's tests; not shipped."),
    ("guestreq-user/tests", "Tests of the binary; not shipped."),
];

const HEAD: &str = "\
# Unsafe code

<!-- made of the sources: UPDATE_DOCS=1 cargo test -p guestreq -->

All unsafe code, with its SAFETY comments. Clippy refuses an unsafe block without one
(`undocumented_unsafe_blocks`), and a test fails if this page is outdated. C code, the
[gate](../gate/README.md) and the rig's snpsim, is unsafe throughout and not listed.
";

/// An `unsafe` with its reason.
struct Place {
    file: String,
    item: String,
    why: String,
}

#[test]
fn the_list_of_unsafe_code_is_current() {
    let mut page = HEAD.to_owned();
    for (krate, what) in CRATES {
        let places = places(krate);
        let _ = writeln!(page, "\n## {krate}\n\n{what} Places: {}.", places.len());
        if !places.is_empty() {
            page += "\n| where | why it is sound |\n|---|---|\n";
        }
        for Place { file, item, why } in places {
            let _ = writeln!(page, "| {file}: `{item}` | {} |", why.replace('|', "\\|"));
        }
    }
    assert_current("docs/unsafe.md", &page);
}

fn places(krate: &str) -> Vec<Place> {
    let folder = root().join(krate);
    let mut places = Vec::new();
    for file in sources(&folder) {
        let name = file.strip_prefix(&folder).unwrap().display().to_string();
        if krate == "guestreq-user" && name.starts_with("tests/") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for at in (0..lines.len()).filter(|at| is_unsafe(lines[*at])) {
            let item = item(&lines, at);
            let why = reason(&lines, at).unwrap_or_else(|| panic!("{name}: {item}: no reason"));
            places.push(Place { file: name.clone(), item, why });
        }
    }
    places
}

/// All Rust files below a folder, in order.
fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.ends_with("target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// As rustfmt leaves it.
fn is_unsafe(line: &str) -> bool {
    let line = line.trim_start();
    let comment = line.starts_with("//");
    let words =
        ["unsafe {", "unsafe impl", "unsafe trait", "unsafe fn", "unsafe extern", "#[unsafe("];
    // In a string, as here, it follows a quote.
    !comment && words.iter().any(|word| line.contains(word) && !line.contains(&format!("\"{word}")))
}

/// The text under `SAFETY:` above it, or under `# Safety` in the documentation of an unsafe item.
/// Several in one statement share a reason.
fn reason(lines: &[&str], at: usize) -> Option<String> {
    let start = (0..at).rev().take_while(|line| !lines[*line].trim().is_empty()).find(|line| {
        let line = lines[*line].trim_start();
        line.starts_with("// SAFETY:") || line == "/// # Safety"
    })?;
    let comment = lines[start..at].iter().map(|line| line.trim_start());
    let comment = comment.take_while(|line| line.starts_with("//"));
    let words = comment.map(|line| line.trim_start_matches('/').trim());
    let text = words.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let text = text.trim_start_matches("SAFETY:").trim_start_matches("# Safety").trim();
    let mut letters = text.chars();
    Some(letters.next()?.to_uppercase().chain(letters).collect())
}

/// The function that it is in, or the item that it is.
fn item(lines: &[&str], at: usize) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let named = |line: &str| {
        let (before, after) = line.split_once("fn ")?;
        let plain = before.chars().all(|c| c.is_alphanumeric() || " ()_\"".contains(c));
        let name = after.split(['(', '<']).next()?;
        plain.then(|| name.to_owned())
    };
    let own = || {
        let mut code = lines[at..].iter().map(|line| line.trim());
        let code = code.find(|line| !line.starts_with('#')).unwrap_or_default();
        code.split(['{', '=']).next().unwrap_or_default().trim().to_owned()
    };
    let inside = (0..at).rev().filter(|line| indent(lines[*line]) < indent(lines[at]));
    let found = inside.into_iter().find_map(|line| named(lines[line]));
    found.unwrap_or_else(own)
}

#[test]
fn an_unsafe_block_is_listed_with_its_function_and_reason() {
    // Not a place of its own.
    let text = "fn outer() {\n    // SAFETY: it is\n    // so.\n    let x = UNSAFE { f() };\n}";
    let text = text.to_lowercase().replace("safety", "SAFETY");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.iter().filter(|line| is_unsafe(line)).count(), 1);
    assert_eq!(item(&lines, 3), "outer");
    assert_eq!(reason(&lines, 3).as_deref(), Some("It is so."));
    assert_eq!(reason(&["", lines[3]], 1), None);
}
