//! # Running programs, with one-line errors

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The cargo that runs xtask.
pub fn cargo(subcommand: &str) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.arg(subcommand).current_dir(crate::project::root());
    as_from_a_shell(&mut command);
    command
}

/// Without the variables that `cargo run` sets, which would make build scripts run again.
pub fn as_from_a_shell(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
}

/// A command in its own mount and pid namespaces, so that nothing stays mounted or running after it
/// or xtask ends.
pub fn contained(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--mount-proc"]);
    command.args(["--fork", "--kill-child", "--", program]);
    command
}

/// The line of a log that most likely shows the error.
fn telling_line(log: &str) -> &str {
    let error = |l: &&str| {
        let l = l.trim_start();
        l.starts_with("E: ") || l.starts_with("error") || l.contains(" error: ")
    };
    log.lines()
        .find(error)
        .or_else(|| log.lines().rfind(|l| !l.trim().is_empty()))
        .unwrap_or("it printed nothing")
        .trim()
}

/// Runs `command` with its output in the file `log`, which is quoted in the error. The caller adds
/// what failed.
pub fn logged(command: &mut Command, log: &Path) -> Result<()> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !status.success() {
        let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
        bail!("{} ({status}; full output: {})", telling_line(&text), log.display());
    }
    Ok(())
}

/// Runs `command` and returns what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let out =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {program}"))?;
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        bail!("{program} failed: {} ({})", telling_line(&text), out.status);
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Whether `program` is on the PATH, or in a directory that root's PATH has.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(system).any(|dir| dir.join(program).is_file())
}
