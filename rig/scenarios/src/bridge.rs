//! # The agent's socket, over TCP
//!
//! For the live demo only: QEMU forwards TCP ports, not unix sockets. Whoever reaches the port has
//! root's rights on a host that is thrown away.

use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    thread,
};

use anyhow::{Context as _, Result};

/// Serves until the process ends.
pub fn start(address: &'static str, socket: &'static str) -> Result<()> {
    let listener = TcpListener::bind(address).context(address)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || pass_on(&stream, socket));
        }
    });
    Ok(())
}

/// Copies both ways until either side closes.
fn pass_on(outside: &TcpStream, socket: &str) -> io::Result<()> {
    let agent = UnixStream::connect(socket)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &*outside, &mut &agent);
            agent.shutdown(Shutdown::Both)
        });
        let _ = io::copy(&mut &agent, &mut &*outside);
        outside.shutdown(Shutdown::Both)
    })
}
