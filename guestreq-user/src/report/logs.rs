//! # Logs
//!
//! The kernel's lines about SNP, and the agent's log if journald keeps it.

use std::{
    io::{self, Read as _},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// A line about SNP, the PSP's driver, its IOMMU, lockdown, or guestreq.
const ABOUT: [&str; 9] =
    ["SEV", "SNP", "RMP", "ccp", "guestreq", "AMD-Vi", "lockdown", "kvm_amd", "livepatch"];
/// Dumps of registers, memory, or of what a guest wrote.
const DUMPS: [&str; 8] =
    ["Code:", "GHCB", "RIP:", "RSP:", "Call Trace", "Stack:", "sw_exit", "rmp entry"];
/// Lines of each log.
pub const MOST_LINES: usize = 2000;
/// Of the agent's log.
pub const MOST_BYTES: u64 = 2 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// The kernel's lines that are about guestreq's subject, without dumps.
pub fn of_kernel(log: &str) -> String {
    let is_about = |line: &&str| {
        let is_dump =
            DUMPS.iter().any(|dump| line.to_ascii_lowercase().contains(&dump.to_ascii_lowercase()));
        ABOUT.iter().any(|word| line.contains(word)) && !is_dump
    };
    let lines: Vec<&str> = log.lines().filter(is_about).collect();
    let latest = &lines[lines.len().saturating_sub(MOST_LINES)..];
    latest.iter().map(|line| format!("{line}\n")).collect()
}

/// The agent's log since the last boot.
pub fn of_agent() -> Result<String> {
    let lines = MOST_LINES.to_string();
    let mut journalctl = Command::new("journalctl");
    journalctl.args(["--unit", "guestreq", "--boot", "--lines", &lines, "--output", "short-iso"]);
    let text = output(journalctl.args(["--no-hostname", "--no-pager", "--quiet"]))?;
    if text.is_empty() {
        bail!("journald has no log of the unit guestreq for this user");
    }
    Ok(text)
}

/// A program's output, up to [`MOST_BYTES`] and [`TIMEOUT`].
fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("there is no {name} here"),
        child => child.context(name.clone())?,
    };
    let mut stdout = child.stdout.take().context("its output")?.take(MOST_BYTES);
    let (send, answer) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.read_to_end(&mut bytes);
        let _ = send.send(read.map(|_| bytes));
    });
    let answer = answer.recv_timeout(TIMEOUT);
    // It may be waiting, or have more to say.
    let _ = child.kill();
    let _ = child.wait();
    match answer {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes.context(name)?).into_owned()),
        Err(_) => bail!("{name} did not answer within {} s", TIMEOUT.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_about_snp_are_kept_and_no_dumps() {
        let log = "<6>[    0.1] Linux version 6.12\n\
                   <3>[    0.6] ccp 0000:02:00.5: SEV: failed to get status\n\
                   <4>[    9.1] SEV-ES guest GHCB: sw_exit_info_1 4142434445464748\n\
                   <4>[    9.2] RIP: 0010:sev_do_cmd [ccp]\n\
                   <6>[    9.3] guestreq_gate: loaded\n";
        let kept = of_kernel(log);
        assert_eq!(kept.lines().count(), 2, "{kept}");
        assert!(kept.contains("failed to get status") && kept.contains("guestreq_gate: loaded"));
        let many: String = (0..MOST_LINES + 9).map(|i| format!("SNP {i}\n")).collect();
        let kept = of_kernel(&many);
        assert!(kept.starts_with("SNP 9\n") && kept.lines().count() == MOST_LINES);
    }

    #[test]
    fn a_program_s_output_is_bounded() {
        let text = output(Command::new("echo").arg("x")).unwrap();
        assert_eq!(text, "x\n");
        let endless = output(&mut Command::new("yes")).unwrap();
        assert_eq!(endless.len() as u64, MOST_BYTES);
        let error = output(&mut Command::new("no-such-program")).unwrap_err().to_string();
        assert_eq!(error, "there is no no-such-program here");
    }
}
