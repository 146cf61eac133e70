//! # `guestreq report`
//!
//! What is in a report, what is not, and what doctor says of its copies.

mod unpacked;

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    agent::{self, Agent, cli},
    children, host, load,
    scenario::{Context, Status, scenario},
};
use unpacked::Unpacked;

scenario!(night BUNDLE: "report/bundle" = bundle,
    "a report has what its manifest lists and no VM's name, and doctor can assess it");

const FOLDER: &str = "/tmp/report";
/// It waits for each answer of an agent, and for logs.
const REPORT_TIMEOUT: Duration = Duration::from_secs(120);
const CONFIG: &str = "/tmp/guestreq.toml";
/// The last three are words of the report itself, too.
const NAMES: [&str; 5] = ["web-shop-1", "acme \"db\"", "qemu", "sum", "1"];
const RULES: &str = "mode = \"audit\"\n[[vm]]\nmatch = { name = \"acme*\" }\nlimit = \"off\"\n\
                     [[vm]]\nmatch = { name = \"web-shop-1\" }\nallow = [\"report\"]\n";

fn report(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new("/bin/guestreq");
    command.arg("report").args(arguments).args(["--config", CONFIG]).current_dir(FOLDER);
    command.output().context("guestreq report")
}

/// Its path, and what standard error says.
fn made(output: &Output) -> Result<(PathBuf, String)> {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && stderr.lines().count() <= 1, "{}: {stderr}", output.status);
    let name = String::from_utf8(output.stdout.clone()).context("its path")?;
    Ok((Path::new(FOLDER).join(name.trim_end()), stderr))
}

fn bundle(_: &Context) -> Result<Status> {
    let _ = fs::remove_dir_all(FOLDER);
    fs::create_dir_all(FOLDER).context(FOLDER)?;
    let agent = Agent::with_config(RULES)?;
    let vms = NAMES.map(|name| load::start_named("--vmm qemu --count 3 --hold", Some(name)));
    let vms = vms.into_iter().collect::<Result<Vec<_>>>()?;
    host::wait_until("all VMs are known", Duration::from_secs(30), || {
        Ok(agent::json("vms")?["vms"].as_array().map_or(0, Vec::len) == NAMES.len())
    })?;
    let here: Value =
        serde_json::from_str(&cli(&["doctor", "--exit-zero", "-o", "json", "--config", CONFIG])?)?;
    let names = secrets()?;
    let with_agent = with_agent(&names, &here)?;
    refusals(&with_agent)?;
    without_root(&names)?;
    drop(agent);
    without_agent(&names)?;
    full_disk()?;
    for vm in vms {
        vm.finish()?;
    }
    [FOLDER, unpacked::FOLDER].iter().try_for_each(fs::remove_dir_all).context("the reports")?;
    Ok(Status::Passed)
}

/// What no report may have: distinctive names and UUIDs, in lower case.
fn secrets() -> Result<Vec<String>> {
    let vms = agent::json("vms")?;
    let vms = vms["vms"].as_array().context("vms")?;
    let uuids = vms.iter().filter_map(|vm| Some(vm["uuid"].as_str()?.to_lowercase()));
    let names = ["web-shop", "web\\x2dshop", "acme", "shop%2d"].map(str::to_owned);
    let all: Vec<String> = uuids.chain(names).collect();
    ensure!(all.len() == NAMES.len() + 4, "{all:?}");
    Ok(all)
}

fn with_agent(names: &[String], here: &Value) -> Result<PathBuf> {
    let (path, stderr) = made(&report(&[])?)?;
    let mode = fs::metadata(&path).context("the report")?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "mode {mode:o}");
    let unpacked = Unpacked::of(&path)?;
    println!("{} bytes, {stderr}{}", fs::metadata(&path)?.len(), unpacked.read("MANIFEST.md")?);
    unpacked.is_listed()?;
    unpacked.has_none_of(names)?;
    for (file, part) in [
        ("doctor.txt", "Kernel and BPF"),
        ("agent.json", "\"enforcement\""),
        ("vms.txt", "REQUESTS"),
        ("psp.txt", "Held by"),
        ("launches.json", "\"launches\""),
        ("policy.json", "name = \\\"part1*\\\""),
        ("limits.txt", "LIMIT"),
        ("explained.txt", "argument: -name guest=vm"),
        ("events.txt", "new_vm"),
        ("metrics.txt", "guestreq_vm_info{vm=\"vm"),
        ("facts.txt", "__sev_do_cmd_locked"),
        ("processes.json", "\"cgroups\""),
        ("kernel-log.txt", "SEV"),
        ("host/proc/kallsyms", "ffffffffffffffff"),
    ] {
        let text = unpacked.read(file)?;
        ensure!(text.contains(part), "{file} has no {part}: {text}");
    }
    // Every VM has one pseudonym, whatever it is called, and the same one everywhere.
    let vms = unpacked.json("vms.json")?;
    let labels = |of: &Value| -> BTreeSet<String> {
        let vms = of.as_array().into_iter().flatten();
        vms.filter_map(|vm| Some(vm["vm"].as_str()?.to_owned())).collect()
    };
    let shown = labels(&vms["vms"]);
    println!("{}{}", unpacked.read("vms.txt")?, unpacked.read("policy.txt")?);
    ensure!(shown.len() == NAMES.len(), "{shown:?}");
    ensure!(shown.iter().all(|vm| vm.starts_with("vm")), "{shown:?}");
    ensure!(
        vms["vms"].as_array().is_some_and(|vms| vms.iter().all(|vm| vm["vmm"] == "qemu")),
        "{vms}"
    );
    for file in ["explained.json", "processes.json"] {
        let other = labels(&unpacked.json(file)?);
        ensure!(other == shown, "{file}: {other:?}, not {shown:?}");
    }
    unpacked.agrees_with(here)?;
    let (path, _) = made(&report(&["--names", "--output", "names.tar.gz"])?)?;
    let text = Unpacked::of(&path)?.read("vms.txt")?;
    ensure!(NAMES.iter().all(|name| text.contains(name)), "{text}");
    Ok(path)
}

/// One line each, and nothing is replaced.
fn refusals(existing: &Path) -> Result<()> {
    let existing = existing.to_str().context("a path")?;
    for (output, part) in
        [(existing, "exists: give another name"), ("/nonexistent/a.tar.gz", "cannot write")]
    {
        let refused = report(&["--output", output])?;
        let stderr = String::from_utf8_lossy(&refused.stderr);
        let is_one = stderr.lines().count() == 1 && stderr.contains(part);
        ensure!(refused.status.code() == Some(1) && is_one, "{}: {stderr}", refused.status);
    }
    // Into a pipe that is read to its end, and into one that nobody reads any more.
    let mut command = Command::new("/bin/guestreq");
    command.args(["report", "--output", "-"]).stdout(Stdio::piped()).stderr(Stdio::null());
    for is_read in [true, false] {
        let mut child = command.spawn().context("guestreq report")?;
        let mut stdout = child.stdout.take().context("its output")?;
        let mut bytes = Vec::new();
        if is_read {
            stdout.read_to_end(&mut bytes).context("its output")?;
            ensure!(bytes.starts_with(&[0x1f, 0x8b]), "{} bytes, no archive", bytes.len());
        }
        drop(stdout);
        let status = children::wait(&mut child, "guestreq report", REPORT_TIMEOUT)?;
        ensure!(status.code() == Some(0), "{status}");
    }
    Ok(())
}

fn without_root(names: &[String]) -> Result<()> {
    let folder = format!("{FOLDER}/nobody");
    fs::create_dir_all(&folder).context("a folder")?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).context("its mode")?;
    let mut command = Command::new("/bin/guestreq");
    let output =
        command.args(["report", "--config", CONFIG]).current_dir(&folder).uid(65_534).gid(65_534);
    let (path, stderr) = made(&output.output().context("guestreq report")?)?;
    ensure!(stderr.contains("the report has no") && stderr.lines().count() == 1, "{stderr}");
    let path = Path::new(&folder).join(path.file_name().context("a name")?);
    let unpacked = Unpacked::of(&path)?;
    unpacked.is_listed()?;
    unpacked.has_none_of(names)?;
    ensure!(unpacked.manifest["root"] == false, "{}", unpacked.manifest);
    ensure!(unpacked.misses("vms", "may not open"), "{}", unpacked.manifest["missing"]);
    Ok(())
}

fn without_agent(names: &[String]) -> Result<()> {
    let (path, stderr) = made(&report(&["--output", "alone.tar.gz"])?)?;
    ensure!(stderr.contains("no agent answers") && stderr.lines().count() == 1, "{stderr}");
    let unpacked = Unpacked::of(&path)?;
    unpacked.is_listed()?;
    unpacked.has_none_of(names)?;
    ensure!(unpacked.misses("vms", "no agent answers"), "{}", unpacked.manifest["missing"]);
    let processes = unpacked.read("processes.json")?;
    ensure!(processes.contains("-name guest=vm"), "{processes}");
    // What one would use.
    let policy = unpacked.json("policy.json")?;
    let all = policy["vms"].as_array().context("vms")?;
    ensure!(all.len() == NAMES.len() && policy["default"]["mode"]["value"] == "audit", "{policy}");
    ensure!(unpacked.read("limits.txt")?.contains("LIMIT"), "no limits");
    of_copies(&unpacked)
}

/// Options of this host contradict copies; without them the copies can be packed again.
fn of_copies(unpacked: &Unpacked) -> Result<()> {
    let [proc, sys] = unpacked.copies();
    let mut command = Command::new("/bin/guestreq");
    command.arg("report").args(["--output", "again.tar.gz"]).current_dir(FOLDER);
    command.arg("--procfs").arg(proc).arg("--sysfs").arg(sys);
    let (path, _) = made(&command.output().context("guestreq report")?)?;
    ensure!(path.is_file(), "{} is no file", path.display());
    let refused = command.args(["--socket", "/x"]).output().context("guestreq report")?;
    let stderr = String::from_utf8_lossy(&refused.stderr);
    println!("{stderr}");
    // That it exists comes first.
    ensure!(refused.status.code() == Some(1) && stderr.contains("exists"), "{stderr}");
    fs::remove_file(&path).context("the report")?;
    let refused = command.output().context("guestreq report")?;
    let stderr = String::from_utf8_lossy(&refused.stderr);
    let is_one = stderr.lines().count() == 1 && stderr.contains("leave one of them out");
    ensure!(refused.status.code() == Some(1) && is_one, "{stderr}");
    Ok(())
}

fn full_disk() -> Result<()> {
    let disk = format!("{FOLDER}/disk");
    fs::create_dir_all(&disk).context("a folder")?;
    host::run_command("mount", &["-t", "tmpfs", "-o", "size=8k", "tmpfs", &disk])?;
    let refused = report(&["--output", &format!("{disk}/a.tar.gz")]);
    let left =
        fs::read_dir(&disk).map(|left| left.flatten().map(|it| it.path()).collect::<Vec<_>>());
    host::run_command("umount", &[&disk])?;
    let (refused, left) = (refused?, left.context("the disk")?);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    println!("{stderr}");
    let is_one = stderr.lines().count() == 1 && stderr.contains("No space left on device");
    ensure!(refused.status.code() == Some(1) && is_one, "{}: {stderr}", refused.status);
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}
