//! # Modules depend downwards
//!
//! A module of the crate depends on modules that stand before it in [`LAYERS`]; within a module, and
//! between its parts, nothing depends on itself by way of others. A parent and its children may know
//! each other. Only what is compiled into the binary counts: tests may look anywhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::root;

/// From what depends on nothing to what depends on everything; see docs/architecture.md. Those before
/// "wire" are tools.
const LAYERS: [&str; 27] = [
    "json",
    "text",
    "pages",
    "throttle",
    "background",
    "probes",
    "failpoint",
    "group",
    "wire",
    "host",
    "kernel",
    "policy",
    "config",
    "bpf",
    "observe",
    "enforce",
    "state",
    "metrics",
    "serve",
    "daemon",
    "client",
    "doctor",
    "report",
    "top",
    "cli",
    "kubectl",
    "lib",
];

type Module = Vec<String>;
/// Which modules one depends on.
type Graph = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn no_module_depends_on_a_layer_above_it() {
    let position = |module: &Module| {
        let name = module.first().map_or("lib", String::as_str);
        let found = LAYERS.iter().position(|layer| *layer == name);
        found.unwrap_or_else(|| panic!("{name} is in no layer: give it a place in LAYERS"))
    };
    for (module, targets) in graph() {
        for target in targets.iter().filter(|target| !target.is_empty()) {
            let (from, to) = (module.join("::"), target.join("::"));
            assert!(position(target) <= position(&module), "{from} depends on {to}, above it");
        }
    }
}

#[test]
fn no_module_depends_on_itself_by_way_of_others() {
    let graph = graph();
    assert!(graph.len() > 100, "only {} modules were found", graph.len());
    for start in graph.keys() {
        let mut seen = BTreeSet::new();
        let mut next: Vec<_> = graph[start].iter().collect();
        while let Some(module) = next.pop() {
            let path = || format!("{} and {}", start.join("::"), module.join("::"));
            assert!(module != start, "a cycle: {}", path());
            if seen.insert(module) {
                next.extend(graph.get(module).into_iter().flatten());
            }
        }
    }
}

#[test]
fn a_tree_of_uses_names_each_module_in_it() {
    let modules = ["a", "a::b", "a::b::c", "d", "e"].map(split).into();
    let found = |from: &str, source: &str| {
        let targets = targets(&split(from), source, &modules);
        targets.iter().map(|module| module.join("::")).collect::<Vec<_>>()
    };
    assert_eq!(
        found("e", "use crate::{a::b::{self, c::X}, d::*}; use std::fmt;"),
        ["a::b", "a::b::c", "d"]
    );
    assert_eq!(found("a::b", "fn f() { g!(super::super::d::x(), crate::e::Y) }"), ["d", "e"]);
    assert_eq!(found("d", "#[cfg(test)] mod tests { use crate::e::Y; } use crate::a::Z;"), ["a"]);
    assert_eq!(found("a::b", "use super::Z; use c::X;"), [""; 0], "parent and child");
}

fn graph() -> Graph {
    let source = root().join("guestreq-user/src");
    let mut files = BTreeMap::new();
    find(&source, &Vec::new(), &source.join("lib.rs"), &mut files);
    let modules: BTreeSet<Module> = files.keys().cloned().collect();
    files.iter().map(|(module, text)| (module.clone(), targets(module, text, &modules))).collect()
}

/// The modules of the binary, as their parents declare them.
fn find(folder: &Path, module: &Module, file: &Path, files: &mut BTreeMap<Module, String>) {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let tokens: Vec<TokenTree> = compiled(&text);
    for pair in tokens.windows(3) {
        let [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Punct(end)] = pair else {
            continue;
        };
        if *word != "mod" || end.as_char() != ';' {
            continue;
        }
        let mut child = module.clone();
        child.push(name.to_string());
        let base = folder.join(name.to_string());
        let flat = base.with_extension("rs");
        let file: PathBuf = if flat.exists() { flat } else { base.join("mod.rs") };
        find(&base, &child, &file, files);
    }
    files.insert(module.clone(), text);
}

/// A source's tokens, without what only tests compile.
fn compiled(text: &str) -> Vec<TokenTree> {
    let all = TokenStream::from_str(text).expect("Rust").into_iter().collect::<Vec<_>>();
    let mut kept = Vec::new();
    let mut all = all.into_iter().peekable();
    while let Some(token) = all.next() {
        let attribute = matches!(&token, TokenTree::Punct(sign) if sign.as_char() == '#');
        let is_test = attribute
            && matches!(all.peek(), Some(TokenTree::Group(group)) if only_tests(&group.to_string()));
        if !is_test {
            kept.push(token);
            continue;
        }
        // Up to the end of what the attribute is for.
        for token in all.by_ref() {
            match token {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
                TokenTree::Punct(sign) if sign.as_char() == ';' => break,
                _ => {}
            }
        }
    }
    kept
}

fn only_tests(attribute: &str) -> bool {
    let words: String = attribute.chars().filter(|c| !c.is_whitespace()).collect();
    words == "[cfg(test)]" || words == "[cfg(any(test,feature=\"fuzzing\"))]"
}

/// The modules that a source names, other than its parents and its own parts.
fn targets(module: &Module, text: &str, modules: &BTreeSet<Module>) -> BTreeSet<Module> {
    let mut paths = Vec::new();
    collect(&compiled(text), &mut paths);
    let absolute = paths.into_iter().filter_map(|path| {
        let mut base = module.clone();
        let mut rest = path.into_iter().peekable();
        match rest.peek()?.as_str() {
            "crate" => base.clear(),
            "super" | "self" => {}
            _ => return None,
        }
        while rest.next_if(|word| word == "crate" || word == "self").is_some() {}
        while rest.next_if(|word| word == "super").is_some() {
            base.pop();
        }
        base.extend(rest);
        while !modules.contains(&base) {
            base.pop()?;
        }
        Some(base)
    });
    absolute.filter(|found| !module.starts_with(found) && !found.starts_with(module)).collect()
}

/// All paths that begin with `crate`, `super` or `self`, those in macros and in trees of uses too.
fn collect(tokens: &[TokenTree], paths: &mut Vec<Vec<String>>) {
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(word) if ["crate", "super", "self"].contains(&&*word.to_string()) => {
                at = path(tokens, at, Vec::new(), paths);
            }
            TokenTree::Group(group) => {
                collect(&group.stream().into_iter().collect::<Vec<_>>(), paths);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Parses a path or a tree of uses at a token; returns the index after it.
fn path(
    tokens: &[TokenTree],
    mut at: usize,
    mut words: Vec<String>,
    paths: &mut Vec<Vec<String>>,
) -> usize {
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) => words.push(word.to_string()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                let comma = |token: &TokenTree| matches!(token, TokenTree::Punct(sign) if sign.as_char() == ',');
                for part in inner.split(comma).filter(|part| !part.is_empty()) {
                    path(part, 0, words.clone(), paths);
                }
                return at + 1;
            }
            _ => break,
        }
        at += 1;
        let is_colon =
            |at| matches!(tokens.get(at), Some(TokenTree::Punct(sign)) if sign.as_char() == ':');
        if !(is_colon(at) && is_colon(at + 1)) {
            break;
        }
        at += 2;
    }
    paths.push(words);
    at
}

fn split(name: &str) -> Module {
    name.split("::").map(str::to_owned).collect()
}
