//! # The daemon
//!
//! The only place where the agent is put together: its loop, the servers, the watchdog, systemd,
//! signals and reloads.

pub mod lock;
mod reload;
mod retry;
mod systemd;
mod watchdog;

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lock::Lock;
use log::{info, warn};
use reload::Reloader;
use retry::RetryTimer;
use systemd::Systemd;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::MissedTickBehavior,
};
use watchdog::Watchdog;

use crate::{
    agent::{
        logger,
        observer::Observer,
        shared::{Shared, State},
    },
    bpf::programs,
    config::{Config, Files},
    failpoint, kernel,
    serve::server,
    text::printable,
    throttle::without_numbers,
    wire::events::EventData,
};

/// How often modules are looked at.
const TICK: Duration = Duration::from_millis(200);

/// What the command line asks of the agent.
pub struct Options {
    /// The configuration, if it is not where it is by default.
    pub config: Option<PathBuf>,
    /// Instead of the configuration's.
    pub listen: Option<SocketAddr>,
    /// Stay up, not ready, where the host cannot be observed.
    pub stay: bool,
    /// Probes to leave out.
    pub without: Vec<String>,
    /// Where to die, and which programs to load instead of our own; for tests.
    pub die_at: Option<String>,
    pub object: Option<PathBuf>,
}

pub fn run(options: Options) -> Result<ExitCode> {
    if options.object.is_none() {
        programs::built_in()?;
    }
    let files = Files::of(options.config.as_deref());
    let seen = files.fingerprint();
    let mut config = Config::read(&files)?;
    if let Some(listen) = options.listen {
        config.listen = listen;
    }
    let listen = options.listen.map(|_| "listen");
    let reloader = Reloader::new(files, seen, &config, listen);
    logger::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let done = runtime.block_on(serve(options, config, reloader));
    if let Err(error) = &done {
        // As any verb says it; but standard error may be what is blocked.
        logger::say(&format!("guestreq: {}", printable(&format!("{error:#}"))));
    }
    logger::flush();
    Ok(if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn serve(options: Options, mut config: Config, mut reloader: Reloader) -> Result<()> {
    if let Some(point) = &options.die_at {
        failpoint::die_at(point);
    }
    let shared = Shared::new(&config, "starting");
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP")?;

    if !options.stay {
        // What is wrong with the host is said before what is wrong with a port.
        kernel::check()?;
    }
    let _lock = Lock::take_or_refuse()?;
    let servers = server::Servers::bind(&config).await?;
    shared.journal.record(EventData::AgentStarted {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        agent_pid: std::process::id(),
    });
    attempt(&options, &config, &shared)?;
    // What loading took, the kernel's BTF above all, is not needed again.
    // SAFETY: no memory is passed; the allocator gives back what it holds and nobody uses.
    unsafe { libc::malloc_trim(0) };
    info!("metrics on http://{}/metrics", servers.address());
    let _socket = servers.start(shared.clone());
    let mut systemd = Systemd::new();

    shared.mark_alive();
    let watchdog = Watchdog::start(&shared).context("a thread for the watchdog")?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut patience = RetryTimer::new();
    let mut reload = false;
    loop {
        systemd.is_running(shared.not_ready(), Instant::now());
        systemd.mark_alive(Instant::now());
        let mut answered = false;
        tokio::select! {
            _ = tick.tick() => {}
            () = shared.answer_ready.notified() => answered = true,
            _ = hangup.recv() => reload = true,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        shared.mark_alive();
        let failed = shared.config().failed.is_some();
        // A change that waits for its disk was made for the configuration that holds now.
        let turn = shared.changing.try_lock();
        let due = turn.is_ok() && (reload || reloader.is_due(failed));
        let reloaded = due && reloader.reload(&mut config, &shared);
        reload &= !due;
        drop(turn);
        let waiting = match &mut *shared.state() {
            State::Waiting { .. } => true,
            State::Observing(observer) => {
                if answered {
                    observer.refresh_vms();
                }
                observer.tick();
                false
            }
        };
        if waiting && (reloaded || patience.is_over(Instant::now(), retry::modules())) {
            attempt(&options, &config, &shared)?;
        }
    }
    drop(watchdog);
    systemd.is_stopping(Instant::now());
    let stopping = State::Waiting { reason: "stopping".to_owned() };
    match std::mem::replace(&mut *shared.state(), stopping) {
        State::Observing(observer) => observer.stop(),
        State::Waiting { .. } => Ok(()),
    }
}

/// Starts to observe, or fails; with `--stay`, remembers why and goes on.
fn attempt(options: &Options, config: &Config, shared: &Shared) -> Result<()> {
    let Options { stay, without, object, .. } = options;
    let started = Observer::start(
        config,
        without,
        object.as_deref(),
        *stay,
        &shared.journal,
        &shared.answer_ready,
        shared,
    );
    let next = match started {
        Ok(observer) => State::Observing(Box::new(observer)),
        Err(error) if options.stay => {
            let reason = format!("{error:#}");
            // Once per reason: it is also what /readyz says.
            let is_known = |old: &str| without_numbers(old) == without_numbers(&reason);
            if !matches!(&*shared.state(), State::Waiting { reason: old } if is_known(old)) {
                warn!("not observing: {reason}; trying again each minute, and when modules change");
            }
            State::Waiting { reason }
        }
        Err(error) => return Err(error),
    };
    *shared.state() = next;
    Ok(())
}
