//! # The daemon
//!
//! Assembles the agent: its loop, the servers, the watchdog, systemd, signals and reloads.

pub mod feature_file;
pub mod lock;
mod priority;
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
use feature_file::FeatureFile;
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
    bpf::programs,
    config::{Config, Files},
    failpoint, kernel,
    serve::server,
    state::{
        logger,
        observer::Observer,
        shared::{Shared, State},
    },
    text::printable,
    throttle::without_numbers,
    wire::events::EventData,
};

/// How often modules are checked.
const TICK: Duration = Duration::from_millis(200);

/// The agent's command line.
pub struct Options {
    /// The configuration, if not the default one.
    pub config: Option<PathBuf>,
    /// Overrides the configuration's.
    pub listen: Option<SocketAddr>,
    /// Keep running, not ready, if the host cannot be observed.
    pub stay: bool,
    /// Probes to leave out.
    pub without: Vec<String>,
    /// Failpoint, and programs to load instead of our own; for tests.
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
    priority::raise();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let done = runtime.block_on(serve(options, config, reloader));
    if let Err(error) = &done {
        // As other subcommands do, but standard error may be blocked.
        logger::print(&format!("guestreq: {}", printable(&format!("{error:#}"))));
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
        // Reports a fault of the host before one of a port.
        kernel::check()?;
    }
    let _lock = Lock::take_or_refuse()?;
    let servers = server::Servers::bind(&config).await?;
    shared.journal.record(EventData::AgentStarted {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        agent_pid: std::process::id(),
    });
    attempt(&options, &config, &shared)?;
    // Returns memory that loading needed, mostly for the kernel's BTF.
    // SAFETY: no memory is passed; the allocator frees what is unused.
    unsafe { libc::malloc_trim(0) };
    info!("metrics on http://{}/metrics", servers.address());
    let _socket = servers.start(shared.clone());
    let mut systemd = Systemd::new();

    shared.mark_alive();
    let watchdog = Watchdog::start(&shared).context("a thread for the watchdog")?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retry = RetryTimer::new();
    let mut features = FeatureFile::default();
    let mut reload = false;
    loop {
        systemd.notify_status(shared.not_ready(), Instant::now());
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
        // A change that waits for its disk was planned for the current configuration.
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
        if waiting && (reloaded || retry.is_due(Instant::now(), retry::modules())) {
            attempt(&options, &config, &shared)?;
        }
        features.update(config.nfd_file.as_deref(), &shared);
    }
    drop(watchdog);
    systemd.notify_stopping(Instant::now());
    let stopping = State::Waiting { reason: "stopping".to_owned() };
    match std::mem::replace(&mut *shared.state(), stopping) {
        State::Observing(observer) => observer.stop(),
        State::Waiting { .. } => Ok(()),
    }
}

/// Starts to observe. With `--stay` a failure is stored as the reason, and the agent keeps running.
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
            // Once per reason, which /readyz shows as well.
            let is_known = |old: &str| without_numbers(old) == without_numbers(&reason);
            if !matches!(&*shared.state(), State::Waiting { reason: old } if is_known(old)) {
                warn!("not observing: {reason}; retrying each minute, and when modules change");
            }
            State::Waiting { reason }
        }
        Err(error) => return Err(error),
    };
    *shared.state() = next;
    Ok(())
}
