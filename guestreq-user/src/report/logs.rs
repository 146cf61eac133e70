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

use super::gather::Bounded;

/// A line about SNP, the PSP's driver, its IOMMU, lockdown, or guestreq.
const ABOUT: [&str; 9] =
    ["SEV", "SNP", "RMP", "ccp", "guestreq", "AMD-Vi", "lockdown", "kvm_amd", "livepatch"];
/// Dumps of registers, memory, or of what a guest wrote; and who built the kernel, and its options, of
/// which a copy has those that matter.
const LEFT_OUT: [&str; 15] = [
    "Code:",
    "GHCB",
    "RIP:",
    "RSP:",
    "Call Trace",
    "Stack:",
    "sw_exit",
    "rmp entry",
    "VMCB",
    "VMSA",
    "cr0:",
    "rax:",
    "xmm",
    "Linux version",
    "command line",
];
/// Hexadecimal digits in a row that only dumps of kvm_amd's have.
const DUMPED: usize = 16;
/// Lines of each log.
pub const MOST_LINES: usize = 2000;
/// Of the agent's log.
pub const MOST_BYTES: u64 = 2 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// The kernel's lines that are about guestreq's subject, without dumps.
pub fn of_kernel(log: &str) -> Bounded {
    let is_about = |line: &&str| {
        let lower = line.to_ascii_lowercase();
        let is_left_out = LEFT_OUT.iter().any(|dump| lower.contains(&dump.to_ascii_lowercase()));
        let is_dump = line.contains("kvm_amd")
            && line.split(|c: char| !c.is_ascii_hexdigit()).any(|word| word.len() >= DUMPED);
        ABOUT.iter().any(|word| line.contains(word)) && !is_left_out && !is_dump
    };
    latest(log.lines().rev().filter(is_about))
}

/// The latest lines, of which the latest comes first.
fn latest<'a>(mut lines: impl Iterator<Item = &'a str>) -> Bounded {
    let mut latest: Vec<&str> = lines.by_ref().take(MOST_LINES).collect();
    latest.reverse();
    let text = latest.iter().map(|line| format!("{line}\n")).collect();
    Bounded { text, is_cut: lines.next().is_some() }
}

/// The agent's log since the last boot.
pub fn of_agent() -> Result<Bounded> {
    // One more shows whether there are more.
    let lines = (MOST_LINES + 1).to_string();
    let mut journalctl = Command::new("journalctl");
    journalctl.args(["--unit", "guestreq", "--boot", "--lines", &lines, "--output", "short-iso"]);
    // The latest first: they count, if there are too many.
    let text = output(journalctl.args(["--reverse", "--no-hostname", "--no-pager", "--quiet"]))?;
    if text.is_empty() {
        bail!("journald has no log of the unit guestreq for this user");
    }
    Ok(of_journal(&text))
}

fn of_journal(text: &str) -> Bounded {
    let is_all = (text.len() as u64) < MOST_BYTES;
    let whole = if is_all { text } else { text.rsplit_once('\n').map_or("", |(whole, _)| whole) };
    let Bounded { text, is_cut } = latest(whole.lines());
    let text = text.lines().map(|line| without_name(line) + "\n").collect();
    Bounded { text, is_cut: is_cut || !is_all }
}

/// Earlier agents did not quote the name in this message.
fn without_name(line: &str) -> String {
    const END: &str = ": its process answered";
    match line.strip_suffix(END).filter(|rest| !rest.ends_with('"')) {
        Some(rest) => {
            rest.split(" is ").next().unwrap_or_default().to_owned() + " is \u{2026}" + END
        }
        None => line.to_owned(),
    }
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
        let Bounded { text, is_cut } = of_kernel(log);
        assert_eq!((text.lines().count(), is_cut), (2, false), "{text}");
        assert!(text.contains("failed to get status") && text.contains("guestreq_gate: loaded"));
        let many: String = (0..MOST_LINES + 9).map(|i| format!("SNP {i}\n")).collect();
        let Bounded { text, is_cut } = of_kernel(&many);
        assert!(is_cut && text.starts_with("SNP 9\n") && text.lines().count() == MOST_LINES);
    }

    #[test]
    fn neither_registers_nor_the_kernel_s_options_are_kept() {
        for line in [
            "Kernel command line: root=UUID=7a kvm_amd.sev=1 ip=10.0.0.7",
            "Unknown kernel command line parameters \"kvm_amd.x=1 acme\"",
            "Linux version 6.12-snp (me@build.acme) #1 SNP",
            "kvm_amd: VMCB 000000000badcafe",
            "kvm_amd: rax: 0000 rbx: 4142434445464748",
            "kvm_amd: control 4142434445464748 x",
        ] {
            assert_eq!(of_kernel(line).text, "", "{line}");
        }
        assert_ne!(of_kernel("kvm_amd: SEV-SNP enabled (ASIDs 1 - 99)").text, "");
    }

    #[test]
    fn of_a_long_log_the_latest_lines_are_kept_and_none_is_cut() {
        let of = |count: usize| -> String { (0..count).rev().map(|i| format!("{i}\n")).collect() };
        let Bounded { text, is_cut } = of_journal(&of(MOST_LINES));
        assert_eq!(
            (text.lines().next(), text.lines().count(), is_cut),
            (Some("0"), MOST_LINES, false)
        );
        let Bounded { text, is_cut } = of_journal(&of(MOST_LINES + 1));
        assert_eq!(
            (text.lines().next(), text.lines().last(), is_cut),
            (Some("1"), Some("2000"), true)
        );
        let long = format!("new\n{}", "old".repeat(MOST_BYTES as usize));
        let Bounded { text, is_cut } = of_journal(&long[..MOST_BYTES as usize]);
        assert_eq!((text.as_str(), is_cut), ("new\n", true));
    }

    #[test]
    fn a_name_that_an_earlier_agent_did_not_quote_is_left_out() {
        let end = ": its process answered";
        let line = format!("x guestreq[7]: VM unread-9 is acme is here{end}");
        assert_eq!(without_name(&line), format!("x guestreq[7]: VM unread-9 is \u{2026}{end}"));
        let quoted = format!("VM unread-9 is \"acme\"{end}");
        assert_eq!(without_name(&quoted), quoted);
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
