//! # Telling systemd
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
};

use log::warn;

/// Who started us, if they want to know.
pub struct Systemd {
    socket: Option<OsString>,
    /// The status that it has.
    told: String,
}

impl Systemd {
    pub fn new() -> Self {
        Self { socket: env::var_os("NOTIFY_SOCKET"), told: String::new() }
    }

    /// That the first attempt is over, and how things stand; again where that has changed.
    pub fn is_running(&mut self, not_ready: Option<String>) {
        let status =
            not_ready.map_or_else(|| "ready".to_owned(), |why| format!("not ready: {why}"));
        if status != self.told {
            self.tell(&running(&status));
            self.told = status;
        }
    }

    pub fn is_stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send(socket, message) {
            warn!("cannot tell systemd ({}): {error}", socket.display());
        }
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
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address)?;
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
    fn systemd_is_told_at_a_path_and_at_an_abstract_name() {
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
    fn its_status_is_what_holds_now_and_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let mut told = Systemd { socket: Some(path.into_os_string()), told: String::new() };
        let not_ready = || Some("no ccp".to_owned());
        told.is_running(not_ready());
        assert_eq!(heard(&systemd).as_deref(), Some("READY=1\nSTATUS=not ready: no ccp"));
        told.is_running(not_ready());
        assert_eq!(heard(&systemd), None);
        told.is_running(None);
        assert_eq!(heard(&systemd).as_deref(), Some("READY=1\nSTATUS=ready"));
        told.is_stopping();
        assert_eq!(heard(&systemd).as_deref(), Some("STOPPING=1"));
    }

    #[test]
    fn a_systemd_that_is_gone_is_an_error_and_no_more() {
        assert!(send(OsStr::new("/nowhere/notify"), "STOPPING=1").is_err());
        assert!(send(OsStr::new(""), "STOPPING=1").is_err());
    }
}
