//! # An agent that answers what a test wants
//!
//! The real one needs an SNP host.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use serde_json::Value;

pub struct Agent {
    socket: PathBuf,
    gone: Arc<AtomicBool>,
}

impl Agent {
    /// Answers until it is dropped.
    pub fn start(socket: &Path) -> io::Result<Agent> {
        let listener = UnixListener::bind(socket)?;
        let gone = Arc::new(AtomicBool::new(false));
        let is_gone = Arc::clone(&gone);
        thread::spawn(move || {
            let start = Instant::now();
            for stream in listener.incoming().flatten() {
                if is_gone.load(Ordering::SeqCst) {
                    break;
                }
                let _ = answer(stream, start);
            }
        });
        Ok(Agent { socket: socket.to_owned(), gone })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        // Once more, so that it sees that.
        drop(UnixStream::connect(&self.socket));
        let _ = fs::remove_file(&self.socket);
    }
}

fn answer(mut stream: UnixStream, start: Instant) -> io::Result<()> {
    let mut head = Vec::new();
    let mut bytes = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            read => head.extend_from_slice(&bytes[..read]),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (status, body) = match head.starts_with("GET /v1/overview HTTP/1.1\r\n") {
        true => ("200 OK", overview(start)?),
        false => ("404 Not Found", String::new()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// As in the file, but for the time, which advances.
fn overview(start: Instant) -> io::Result<String> {
    let mut data: Value = serde_json::from_str(include_str!("overview.json"))?;
    let elapsed = start.elapsed().as_secs_f64();
    data["agent"]["monotonic_seconds"] = (1000.0 + elapsed).into();
    data["psp"]["busy_seconds"] = (24.4 + elapsed * 0.9).into();
    let mut evil = data["vms"]["vms"][0].clone();
    let name = "evil\u{1b}[2J\u{1b}]0;owned\u{7}\r\n\"".to_owned() + &"x".repeat(4096);
    (evil["name"], evil["pid"], evil["vm"]) = (name.clone().into(), 666.into(), name.into());
    evil["recent_psp_share"] = 0.0001.into();
    if let Some(vms) = data["vms"]["vms"].as_array_mut() {
        vms.push(evil);
    }
    Ok(data.to_string())
}
