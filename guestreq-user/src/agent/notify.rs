//! # Telling systemd
//!
//! One datagram to the socket that it names in the environment (sd_notify(3)), so that what is
//! ordered after the agent starts when it has tried to attach, and not before.

use std::{
    env,
    ffi::OsStr,
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

/// What systemd is told.
pub enum Tell {
    /// That the first attempt is over, and what came of it.
    Ready {
        status: String,
    },
    Stopping,
}

/// Says it to whoever started us, if they want to know.
pub fn tell(what: &Tell) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, what) {
        warn!("cannot tell systemd ({}): {error}", socket.display());
    }
}

fn send(socket: &OsStr, what: &Tell) -> io::Result<()> {
    let message = match what {
        // A line each: a reason of several lines would be taken for more of them.
        Tell::Ready { status } => format!("READY=1\nSTATUS={}", status.replace('\n', " ")),
        Tell::Stopping => "STOPPING=1".to_owned(),
    };
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
            let status = "not observing: no ccp\nREADY=1".to_owned();
            send(&socket, &Tell::Ready { status }).unwrap();
            let mut heard = [0; 256];
            let length = systemd.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1\nSTATUS=not observing: no ccp READY=1");
        }
    }

    #[test]
    fn a_systemd_that_is_gone_is_an_error_and_no_more() {
        assert!(send(OsStr::new("/nowhere/notify"), &Tell::Stopping).is_err());
        assert!(send(OsStr::new(""), &Tell::Stopping).is_err());
    }
}
