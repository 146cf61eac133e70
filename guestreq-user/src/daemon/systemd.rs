//! # Notifying systemd
//!
//! One datagram to the socket that it names in the environment (sd_notify(3)), so that what is
//! ordered after the agent starts when it has tried to attach, and not before; and so that
//! `systemctl status` says how things stand.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::{Duration, Instant},
};

use log::warn;

use crate::throttle::{ReportThrottle, without_numbers};

/// systemd's notification socket, if there is one.
pub struct Systemd {
    socket: Option<OsString>,
    /// The status that it has, and when it was sent.
    sent: Option<(String, Instant)>,
    failure: ReportThrottle<Option<String>>,
    /// The watchdog interval, and the last keep-alive.
    watchdog: Option<Duration>,
    alive: Option<Instant>,
}

/// Interval for statuses in which only numbers changed.
const RENEW: Duration = Duration::from_secs(10);
/// And no status sooner.
const PAUSE: Duration = Duration::from_secs(1);

impl Systemd {
    pub fn new() -> Self {
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| ours).map(Duration::from_micros);
        Self { watchdog, ..Self::at(env::var_os("NOTIFY_SOCKET")) }
    }

    fn at(socket: Option<OsString>) -> Self {
        Self { socket, sent: None, failure: ReportThrottle::default(), watchdog: None, alive: None }
    }

    /// Reports that the first attempt is over, with a status line; again when the status changes.
    /// What could not be sent is retried.
    pub fn notify_status(&mut self, not_ready: Option<String>, now: Instant) {
        let status =
            not_ready.map_or_else(|| "ready".to_owned(), |why| format!("not ready: {why}"));
        if let Some((sent, at)) = &self.sent {
            let pause =
                if without_numbers(sent) == without_numbers(&status) { RENEW } else { PAUSE };
            if *sent == status || now.saturating_duration_since(*at) < pause {
                return;
            }
        }
        if self.send(&running(&status), now) {
            self.sent = Some((status, now));
        }
    }

    /// Sends keep-alives to systemd's watchdog (`WatchdogSec`), if it is on: ten per interval, so
    /// that it ends only an agent whose loop has stalled for a whole interval.
    pub fn mark_alive(&mut self, now: Instant) {
        let Some(watchdog) = self.watchdog else { return };
        let is_fresh = |at| now.saturating_duration_since(at) < watchdog / 10;
        if !self.alive.is_some_and(is_fresh) && self.send("WATCHDOG=1", now) {
            self.alive = Some(now);
        }
    }

    pub fn notify_stopping(&mut self, now: Instant) {
        self.send("STOPPING=1", now);
    }

    /// Whether it was sent. Never blocks, even if systemd hangs.
    fn send(&mut self, message: &str, now: Instant) -> bool {
        let Some(socket) = &self.socket else { return true };
        let failure = send(socket, message).err().map(|error| error.to_string());
        if self.failure.is_due(failure.clone(), now)
            && let Some(error) = &failure
        {
            warn!("cannot notify systemd ({}): {error}", socket.display());
        }
        failure.is_none()
    }
}

/// A line each: a reason of several lines would be taken for more of them.
fn running(status: &str) -> String {
    format!("READY=1\nSTATUS={}", status.replace('\n', " "))
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let datagram = UnixDatagram::unbound()?;
    // The queue of a hung systemd may be full.
    datagram.set_nonblocking(true)?;
    datagram.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(systemd: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 256];
        systemd.set_nonblocking(true).unwrap();
        let length = systemd.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    #[test]
    fn systemd_is_notified_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("guestreq-notify-{}", std::process::id());
        let at_name = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}").into(), UnixDatagram::bind_addr(&at_name).unwrap()),
        ];
        for (socket, systemd) in sockets {
            send(&socket, &running("not ready: no ccp\nREADY=1")).unwrap();
            let said = heard(&systemd).unwrap();
            assert_eq!(said, "READY=1\nSTATUS=not ready: no ccp READY=1");
        }
    }

    #[test]
    fn the_status_is_current_and_sent_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let mut notifier = Systemd::at(Some(path.into_os_string()));
        let now = Instant::now();
        let not_ready = || Some("no ccp".to_owned());
        notifier.notify_status(not_ready(), now);
        assert_eq!(heard(&systemd).as_deref(), Some("READY=1\nSTATUS=not ready: no ccp"));
        notifier.notify_status(not_ready(), now + RENEW * 2);
        assert_eq!(heard(&systemd), None);
        notifier.notify_status(None, now + PAUSE);
        assert_eq!(heard(&systemd).as_deref(), Some("READY=1\nSTATUS=ready"));
        notifier.notify_stopping(now);
        assert_eq!(heard(&systemd).as_deref(), Some("STOPPING=1"));
    }

    /// Row 15 of the second review.
    #[test]
    fn a_status_that_keeps_changing_is_sent_now_and_then_and_the_last_one_always() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let mut notifier = Systemd::at(Some(path.into_os_string()));
        let now = Instant::now();
        let passed = |count: u64| Some(format!("requests that passed: {count}"));
        // Five times a second, for a minute.
        let heard_of = (0..300).filter(|&n| {
            notifier.notify_status(passed(n), now + Duration::from_millis(200) * n as u32);
            heard(&systemd).is_some()
        });
        assert_eq!(heard_of.count(), 6);
        notifier.notify_status(passed(299), now + RENEW * 60);
        assert!(heard(&systemd).is_some_and(|said| said.ends_with("299")));
        // It comes and goes.
        let now = now + RENEW * 100;
        let heard_of = (0..300).filter(|&n| {
            let reason = if n % 2 == 0 { passed(1) } else { None };
            notifier.notify_status(reason, now + Duration::from_millis(200) * n);
            heard(&systemd).is_some()
        });
        assert!(heard_of.count() <= 61);
    }

    /// Row 6: the datagrams' queue of a systemd that is stuck.
    #[test]
    fn a_systemd_that_reads_nothing_blocks_nothing_and_is_notified_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let mut notifier = Systemd::at(Some(path.clone().into_os_string()));
        while send(path.as_os_str(), "STATUS=of somebody else").is_ok() {}
        let now = Instant::now();
        notifier.notify_status(None, now);
        while heard(&systemd).is_some_and(|said| said.contains("somebody")) {}
        notifier.notify_status(None, now);
        assert_eq!(heard(&systemd).as_deref(), Some("READY=1\nSTATUS=ready"));
    }

    /// Row 1 of the second review.
    #[test]
    fn keep_alives_are_sent_ten_times_per_watchdog_interval() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let mut notifier = Systemd::at(Some(path.into_os_string()));
        let now = Instant::now();
        notifier.mark_alive(now);
        assert_eq!(heard(&systemd), None, "no watchdog");
        notifier.watchdog = Some(Duration::from_secs(30));
        // Five rounds a second, for half a minute, then a stall.
        let rounds = (0..150).filter(|&n| {
            notifier.mark_alive(now + Duration::from_millis(200) * n);
            heard(&systemd).as_deref() == Some("WATCHDOG=1")
        });
        assert_eq!(rounds.count(), 10);
        notifier.mark_alive(now + Duration::from_secs(50));
        assert_eq!(heard(&systemd).as_deref(), Some("WATCHDOG=1"));
    }

    #[test]
    fn a_missing_socket_is_an_error() {
        assert!(send(OsStr::new("/nowhere/notify"), "STOPPING=1").is_err());
        assert!(send(OsStr::new(""), "STOPPING=1").is_err());
    }
}
