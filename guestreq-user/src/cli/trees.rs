//! # Options for the host's /proc and /sys
//!
//! Named as in other exporters.

use std::{ffi::OsString, path::PathBuf};

use anyhow::{Result, bail};

use crate::host::system::System;

#[derive(Debug, clap::Args)]
pub struct Trees {
    /// The host's /proc: a mount, or a collected copy [default: /proc]
    #[arg(long, value_name = "DIR", env = "HOST_PROC", hide_env_values = true)]
    procfs: Option<OsString>,
    /// The host's /sys: a mount, or a collected copy [default: /sys]
    #[arg(long, value_name = "DIR", env = "HOST_SYS", hide_env_values = true)]
    sysfs: Option<OsString>,
}

impl Trees {
    /// Makes this process use these trees.
    pub fn choose(self) -> Result<&'static System> {
        self.system()?.choose()
    }

    /// The same, unless these are copies of another host's files and one of these options of this
    /// host is given.
    pub fn choose_beside(self, of_this_host: &[(&str, bool)]) -> Result<&'static System> {
        let system = self.choose()?;
        if system.is_collected() {
            refuse(of_this_host)?;
        }
        Ok(system)
    }

    fn system(self) -> Result<System> {
        // An empty variable counts as unset, as in other exporters.
        let given = |tree: Option<OsString>| tree.filter(|it| !it.is_empty()).map(PathBuf::from);
        System::with(given(self.procfs), given(self.sysfs))
    }
}

fn refuse(options: &[(&str, bool)]) -> Result<()> {
    match options.iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => bail!(
            "{option} is of this host, but --procfs or --sysfs is a copy of another one's: leave one of them \
             out"
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        trees: Trees,
    }

    fn comm_and_module(arguments: &[&str]) -> [PathBuf; 2] {
        let line = Line::try_parse_from([&["x"], arguments].concat()).unwrap();
        let system = line.trees.system().unwrap();
        ["/proc/7/comm", "/sys/module"].map(|path| system.path(path))
    }

    #[test]
    fn each_option_moves_its_own_tree() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_str().unwrap();
        let [comm, _] = comm_and_module(&["--procfs", at]);
        assert_eq!(comm, folder.path().join("7/comm"));
        let [_, module] = comm_and_module(&["--sysfs", at]);
        assert_eq!(module, folder.path().join("module"));
    }

    /// As templates leave unset values.
    #[test]
    fn an_empty_value_counts_as_unset() {
        let usual = ["/proc/7/comm", "/sys/module"].map(PathBuf::from);
        assert_eq!(comm_and_module(&["--procfs", "", "--sysfs="]), usual);
    }

    #[test]
    fn options_of_this_host_contradict_copies() {
        assert!(refuse(&[("--config", false), ("--socket", false)]).is_ok());
        let error = refuse(&[("--config", false), ("--socket", true)]).unwrap_err().to_string();
        assert!(error.starts_with("--socket is of this host, but --procfs or --sysfs"), "{error}");
        assert!(error.ends_with(": leave one of them out"), "{error}");
    }
}
