//! # QMP: QEMU's monitor, one JSON object per line

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// An emulated machine is slow.
const TIMEOUT: Duration = Duration::from_secs(60);

pub struct Qmp {
    stream: BufReader<UnixStream>,
    version: String,
}

impl Qmp {
    pub fn connect(path: &str) -> Result<Qmp> {
        let stream = UnixStream::connect(path).context(path.to_owned())?;
        stream.set_read_timeout(Some(TIMEOUT)).context("a timeout")?;
        let mut qmp = Qmp { stream: BufReader::new(stream), version: String::new() };
        let greeting = qmp.read()?;
        let version = &greeting["QMP"]["version"]["qemu"];
        let numbers: Option<Vec<_>> =
            ["major", "minor", "micro"].iter().map(|part| version[part].as_u64()).collect();
        let numbers = numbers.with_context(|| format!("no greeting: {greeting}"))?;
        qmp.version = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
        qmp.execute("qmp_capabilities")?;
        Ok(qmp)
    }

    /// QEMU's, such as 10.0.13.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What a command returns; fails with QEMU's reason.
    pub fn execute(&mut self, command: &str) -> Result<Value> {
        let line = format!("{}\n", json!({ "execute": command }));
        self.stream.get_mut().write_all(line.as_bytes()).context(command.to_owned())?;
        let start = Instant::now();
        while start.elapsed() < TIMEOUT {
            let mut answer = self.read().with_context(|| command.to_owned())?;
            if let Some(reason) = answer["error"]["desc"].as_str() {
                bail!("{command}: {reason}");
            }
            // Anything else is an event.
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
        }
        bail!("{command}: nothing but events for {TIMEOUT:?}")
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("QEMU has closed its monitor");
        }
        serde_json::from_str(&line).with_context(|| format!("{line:?}"))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixListener, thread};

    use super::*;

    const GREETING: &[u8] =
        b"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 13, \"minor\": 0, \"major\": 10}}}}\n";

    /// A monitor that answers each command with these lines.
    fn monitor(name: &str, answers: &'static [&'static str]) -> Result<Qmp> {
        let path = format!("{}/{name}-{}", std::env::temp_dir().display(), std::process::id());
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = BufReader::new(stream);
            stream.get_mut().write_all(GREETING).unwrap();
            for answer in [&["{\"return\": {}}"], answers].concat() {
                stream.read_line(&mut String::new()).unwrap();
                writeln!(stream.get_mut(), "{answer}").unwrap();
            }
        });
        let qmp = Qmp::connect(&path);
        fs::remove_file(path).unwrap();
        qmp
    }

    #[test]
    fn events_are_skipped_and_errors_have_a_reason() {
        let answers = &[
            "{\"event\": \"STOP\"}\n{\"return\": {\"status\": \"paused\"}}",
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"not now\"}}",
        ];
        let mut qmp = monitor("qmp-answers", answers).unwrap();
        assert_eq!(qmp.version(), "10.0.13");
        assert_eq!(qmp.execute("query-status").unwrap()["status"], "paused");
        assert_eq!(qmp.execute("cont").unwrap_err().to_string(), "cont: not now");
        let closed = format!("{:#}", qmp.execute("cont").unwrap_err());
        assert!(closed.starts_with("cont"), "{closed}");
    }
}
