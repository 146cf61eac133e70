//! # The shared libraries of a program from Debian's packages

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::toolroot::{Toolroot, WORK};
use crate::process;

/// The loader, and where it finds the libraries, in a tree of unpacked packages.
pub const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
pub const FOLDER: &str = "usr/lib/x86_64-linux-gnu";

/// All libraries that a program in the tree needs, as the loader finds them; names in [`FOLDER`].
pub fn of(program: &str, tree: &Path) -> Result<Vec<String>> {
    let mut list = Command::new("chroot");
    list.arg(tree).arg(format!("/{LOADER}"));
    list.args(["--library-path", &format!("/{FOLDER}"), "--list", &format!("/{program}")]);
    parse(program, &process::output(&mut list)?)
}

/// The same of a program elsewhere, with the toolroot's libraries.
pub fn of_other(program: &Path, tools: &Toolroot) -> Result<Vec<String>> {
    let (Some(folder), Some(name)) = (program.parent(), program.file_name()) else {
        bail!("{} is no program", program.display());
    };
    let program = format!("{WORK}/{}", name.display());
    let mut list = tools.command(folder, &format!("/{LOADER}"));
    list.args(["--library-path", &format!("/{FOLDER}"), "--list", &program]);
    parse(&program, &process::output(&mut list)?)
}

/// Lines `NAME => PATH (ADDRESS)`, or `NAME => not found`.
fn parse(program: &str, list: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (name, path) in list.lines().filter_map(|line| line.trim().split_once(" => ")) {
        if path == "not found" {
            bail!("{program} needs {name}, which is in none of the packages that are unpacked");
        }
        if !name.starts_with('/') {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_libraries_are_listed_and_missing_ones_reported() {
        let list = "\tlinux-vdso.so.1 (0x7ff)\n\tlibz.so.1 => /usr/lib/libz.so.1 (0x7f6)\n\
                    \t/lib64/ld-linux-x86-64.so.2 => /usr/lib64/ld-linux-x86-64.so.2 (0x7f7)\n";
        assert_eq!(parse("usr/bin/x", list).unwrap(), ["libz.so.1"]);
        let error = parse("usr/bin/x", "\tliba.so => not found\n").unwrap_err();
        assert!(error.to_string().starts_with("usr/bin/x needs liba.so"), "{error}");
    }
}
