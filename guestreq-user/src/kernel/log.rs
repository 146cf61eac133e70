//! # The kernel's log
//!
//! The only place where the kernel says why it disabled SNP. Lines may have been overwritten, or
//! the log may not be readable.

use std::io;

/// Of syslog(2).
const SYSLOG_ACTION_READ_ALL: libc::c_int = 3;
const SYSLOG_ACTION_SIZE_BUFFER: libc::c_int = 10;

/// Reads the kernel's buffer, which takes CAP_SYSLOG or kernel.dmesg_restrict=0.
pub fn read() -> io::Result<String> {
    // SAFETY: no memory is passed.
    let size = unsafe { libc::klogctl(SYSLOG_ACTION_SIZE_BUFFER, std::ptr::null_mut(), 0) };
    let mut text = vec![0_u8; usize::try_from(size).map_err(|_| io::Error::last_os_error())?];
    // SAFETY: the buffer is as long as it says, and outlives the call.
    let read = unsafe { libc::klogctl(SYSLOG_ACTION_READ_ALL, text.as_mut_ptr().cast(), size) };
    text.truncate(usize::try_from(read).map_err(|_| io::Error::last_os_error())?);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The newest line with all of these parts, without level and time.
pub fn find<'a>(log: &'a str, parts: &[&str]) -> Option<&'a str> {
    let has = |line: &&str| parts.iter().all(|part| line.contains(part));
    log.lines().rev().find(has).map(message)
}

/// `<3>[    0.642786] SEV-SNP: …`, and as dmesg(1) and journalctl(1) print it.
pub fn message(line: &str) -> &str {
    let line = line.split_once("kernel: ").map_or(line, |(_, message)| message);
    let line = line.strip_prefix('<').and_then(|rest| rest.split_once('>')).map_or(line, |it| it.1);
    let time = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    time.map_or(line, |(_, message)| message).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_in_every_form_of_a_line() {
        for line in [
            "<3>[    0.642786] SEV-SNP: no",
            "[Wed Oct 11 10:36:17 2023] SEV-SNP: no",
            "Oct 11 10:36:17 host kernel: SEV-SNP: no",
            "SEV-SNP: no",
        ] {
            let log = format!("<6>[    0.1] SEV-SNP: yes\n{line}\n<6>[    9.9] later\n");
            assert_eq!(find(&log, &["SEV-SNP:", "no"]), Some("SEV-SNP: no"));
        }
        assert_eq!(find("", &["SEV"]), None);
    }
}
