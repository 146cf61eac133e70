//! # Reloading

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::{
    FOLDER, MAIN, allows, decided, end, fresh, lines, policy, refused, replace, shows, start, swap,
};
use crate::{
    agent::{self, Agent, cli, is_known, signal},
    exposition::Metrics,
    gate::Gate,
    host::{self, wait_until},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(RELOADED: "config/reloaded" = reloaded,
    "a changed configuration takes effect, and an invalid one changes nothing");
scenario!(night AT_RELOAD: "config/dies_at_reload" = at_reload,
    "agents that die during a reload leave enforcement in place");

const EXPORT: &str = "allow = [\"report\", \"tsc_info\", \"export\"]\n";
const CONF_D: &str = "/tmp/config/conf.d/50-web.toml";

fn successful(metrics: &Metrics) -> bool {
    metrics.sum("guestreq_config_last_reload_successful", &[]) == 1.0
}

fn reloaded(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    fresh("")?;
    let mut agent = start(&[])?;
    decided("first", false)?;

    replace(MAIN, &lines(EXPORT))?;
    let shown = shows("the replaced file takes effect", |p| allows(&p["default"], "export"))?;
    decided("renamed", true)?;
    let origin = &shown["default"]["allow"]["origin"];
    ensure!(origin["file"] == MAIN && origin["line"] == 3, "{origin}");

    swap(1, &lines(""))?;
    shows("the first link takes effect", |p| !allows(&p["default"], "export"))?;
    decided("linked", false)?;
    swap(2, &lines(EXPORT))?;
    shows("the swapped link takes effect", |p| allows(&p["default"], "export"))?;
    decided("swapped", true)?;

    // A rule for one VM in a separate file overrides the main one.
    let web = "[[vm]]\nmatch = { name = \"web\" }\nallow = [\"report\"]\n";
    replace(CONF_D, web)?;
    shows("an added file takes effect", |p| p["rules"][0]["file"] == CONF_D)?;
    decided("web", false)?;
    decided("other", true)?;
    println!("{}", cli(&["policy", "show"])?);
    wrong(&mut agent)?;
    fs::remove_file(CONF_D)?;
    shows("the removal of a file takes effect", |p| {
        p["rules"].as_array().is_some_and(Vec::is_empty)
    })?;
    decided("web", true)?;

    // SIGHUP reloads at once; what needs a restart is reported.
    replace(MAIN, &lines("max_vms = 7\n"))?;
    signal(agent.pid(), libc::SIGHUP)?;
    let shown = shows("the change takes effect", |p| !allows(&p["default"], "export"))?;
    ensure!(shown["config"]["pending"] == serde_json::json!(["max_vms"]), "{}", shown["config"]);
    let text = cli(&["policy", "show"])?;
    ensure!(text.contains("Changed: max_vms: takes effect at the next start"), "{text}");
    decided("last", false)?;
    end(agent, gate)?;
    Ok(Status::Passed)
}

/// Name, setup, and the reported error.
type Case<'a> = (&'a str, &'a dyn Fn() -> Result<()>, &'a str);

/// Every invalid file is reported in one line everywhere, and the running policy stays.
fn wrong(agent: &mut Agent) -> Result<()> {
    let path = CONF_D;
    let random: Vec<u8> =
        (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let cases: &[Case<'_>] = &[
        (
            "a typing error",
            &|| replace(path, "[[vm]]\nmatch = { name = \"web\" }\n alow = []\n"),
            "line 3, column 2: unknown field `alow`, expected one of `match`, `mode`, `allow`, `limit`",
        ),
        ("random bytes", &|| Ok(fs::write(path, &random)?), "not UTF-8 text"),
        ("10 MB", &|| Ok(fs::write(path, vec![b'#'; 10 << 20])?), "together may have 1 MiB"),
        ("a folder", &|| Ok(fs::create_dir(path)?), "it is a folder, not a file"),
        ("a pipe", &|| host::run_command("mkfifo", &[path]), "it is a pipe, not a file"),
        ("a dangling link", &|| Ok(std::os::unix::fs::symlink("/x", path)?), "a dangling link: /x"),
    ];
    for (i, (what, make, why)) in cases.iter().enumerate() {
        let _ = fs::remove_dir(path);
        let _ = fs::remove_file(path);
        make().with_context(|| (*what).to_owned())?;
        if i > 0 {
            // The first one is noticed without a signal.
            signal(agent.pid(), libc::SIGHUP)?;
        }
        let reported = |p: &serde_json::Value| {
            p["config"]["failed"]["error"].as_str().is_some_and(|error| error.contains(why))
        };
        let shown = shows(what, reported)?;
        let error = shown["config"]["failed"]["error"].as_str().unwrap_or_default();
        ensure!(error.contains(path) && !error.contains('\n'), "{error}");
        ensure!(!successful(&agent.scrape()?), "{what}: the reload metric still reports success");
        ensure!(agent::log().contains(&format!("configuration not reloaded: {error}")), "{what}");
        println!("{error}");
    }
    println!("{}", cli(&["policy", "show"])?);
    decided("web", false)?;
    decided("other", true)?;
    fs::remove_file(path)?;
    replace(path, "[[vm]]\nmatch = { name = \"web\" }\nallow = [\"report\", \"key\"]\n")?;
    agent.wait_until("the mended file takes effect", successful)?;
    ensure!(policy()?["config"]["failed"].is_null(), "{}", policy()?["config"]);
    Ok(())
}

fn at_reload(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    fresh("")?;
    let list = cli(&["agent", "--die-at", "list"])?;
    let points: Vec<_> = list.lines().filter_map(|line| line.strip_prefix("reload ")).collect();
    ensure!(points.len() == 4, "{list}");
    let mut allowed = false;
    let mut web = None;
    let before = host::Firmware::read()?;
    for point in &points {
        // Each takes over from one that has died.
        let dying = start(&["--die-at", point])?;
        shows("the next agent has what the files say", |p| {
            allows(&p["default"], "export") == allowed
        })
        .with_context(|| (*point).to_owned())?;
        decided(&format!("after-{allowed}"), allowed)?;
        if web.is_none() {
            web =
                Some(load::start("--vmm qemu --name web --type import --seconds 36000 --rate 50")?);
        }
        wait_until("the VM is known", std::time::Duration::from_secs(20), || is_known("web"))?;
        allowed = !allowed;
        replace(MAIN, &lines(if allowed { EXPORT } else { "" }))?;
        dying.wait_until_killed().with_context(|| (*point).to_owned())?;
    }
    let agent = start(&[])?;
    decided("converged", allowed)?;
    web.context("no VM")?.stop()?;
    let reached = host::Firmware::read()?.since(&before);
    let imports: u64 =
        reached.messages.iter().filter(|((kind, _), _)| *kind == 9).map(|(_, count)| count).sum();
    ensure!(imports == 0, "{imports} imports reached the PSP, which nothing ever allowed");
    let counts = gate.counts()?;
    ensure!(counts.denied > 0 && counts.unanswered == 0, "{counts:?}");

    // A mode that cannot be enforced is refused, as for a command, and the policy stays.
    gate.remove()?;
    enforce_without_gate(&agent)?;
    agent.kill()?;
    cli(&["detach"])?;
    let _ = fs::remove_dir_all(FOLDER);
    Ok(Status::Passed)
}

/// Without a gate a file changes the mode from audit to enforce.
fn enforce_without_gate(agent: &Agent) -> Result<()> {
    let audit = lines("").replace("enforce", "audit");
    replace(MAIN, &audit)?;
    shows("audit takes effect", |p| p["default"]["mode"]["value"] == "audit")?;
    replace(MAIN, &lines(""))?;
    let refused_by = |p: &serde_json::Value| {
        let error = p["config"]["failed"]["error"].as_str().unwrap_or_default();
        error.starts_with("cannot enforce on this host: the gate is not loaded")
    };
    let shown = shows("it is refused", refused_by)?;
    ensure!(shown["default"]["mode"]["value"] == "audit", "{}", shown["default"]);
    let file = "/tmp/config/enforce";
    fs::write(file, "mode = \"enforce\"\n")?;
    let line = refused(&["policy", "apply", file])?;
    ensure!(line.contains("cannot enforce on this host"), "{line}");
    ensure!(!successful(&agent.scrape()?), "the metric reports success");
    Ok(())
}
