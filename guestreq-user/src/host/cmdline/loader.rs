//! # Programs started through the dynamic loader
//!
//! `ld-linux-x86-64.so.2 --library-path … qemu-system-x86_64 -name web`, as in bundles with their
//! own libraries: the process is the VMM, but its file and name are the loader's.

use std::io::{self, BufRead};

use crate::host::arguments::Arguments;

/// Options of glibc's and musl's loaders that take a value.
const VALUED: [&str; 7] = [
    "--argv0",
    "--audit",
    "--glibc-hwcaps-mask",
    "--glibc-hwcaps-prepend",
    "--inhibit-rpath",
    "--library-path",
    "--preload",
];

/// `/lib64/ld-linux-x86-64.so.2`, `/lib/ld-musl-x86_64.so.1`, `/usr/bin/ld.so`.
pub fn is_one(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    ["ld-linux", "ld-musl-", "ld.so"].iter().any(|stem| name.starts_with(stem))
}

/// The started program; its own arguments are next.
pub fn program(arguments: &mut Arguments<impl BufRead>) -> io::Result<String> {
    while let Some(argument) = arguments.next()? {
        if argument == "--" {
            break;
        }
        if VALUED.contains(&argument.as_str()) {
            arguments.next()?;
        } else if !argument.starts_with('-') {
            return Ok(argument);
        }
    }
    Ok(arguments.next()?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::arguments::cmdline;

    #[test]
    fn the_first_that_is_no_option_is_started() {
        for (line, started) in [
            ("kvm -name web", "kvm"),
            ("--library-path /opt/lib --inhibit-cache kvm -name web", "kvm"),
            ("--argv0 x -- -kvm", "-kvm"),
            ("--list", ""),
            ("--preload", ""),
        ] {
            let arguments = cmdline(line);
            assert_eq!(program(&mut Arguments::of(&arguments[..])).unwrap(), started, "{line}");
        }
        assert!(is_one("/lib64/ld-linux-x86-64.so.2") && !is_one("/usr/bin/ld"));
    }
}
