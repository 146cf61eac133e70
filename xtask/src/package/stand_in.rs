//! # Stand-ins for the commands that packages' scripts call

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process;

/// A command that logs its call and does what `then` says.
pub fn write(path: &Path, log: &Path, then: &str) {
    program(path, &format!("echo \"${{0##*/}} $*\" >>{}\n{then}", log.display()));
}

/// A shell script. Another process writes it: a child of another thread could inherit the open file,
/// and the script could not be run (ETXTBSY) until that child runs its own program.
pub fn program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let plain = path.with_extension("text");
    fs::write(&plain, format!("#!/bin/sh\n{text}\n")).unwrap();
    let mut install = Command::new("install");
    process::output(install.args(["-m", "755"]).arg(&plain).arg(path)).unwrap();
    fs::remove_file(plain).unwrap();
}

/// The calls in a log.
pub fn calls(log: &Path) -> Vec<String> {
    fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect()
}
