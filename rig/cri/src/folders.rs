//! # A pod's files and cgroup on the node

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

use crate::manifest::{list, text};
use crate::messages::container::Mount;
use crate::{Pod, volumes};

const ROOT: &str = "/var/lib/kubelet";
const CGROUPS: &str = "/sys/fs/cgroup";

/// Writes a changed ConfigMap's files for a pod that may run.
pub fn project(pod: &Pod) -> Result<()> {
    let folder = config_maps(pod);
    for volume in list(&pod.spec, "volumes") {
        let Some(name) = volume["configMap"]["name"].as_str() else { continue };
        let data = pod.config_maps.get(name).with_context(|| format!("no ConfigMap {name}"))?;
        volumes::project(data, &folder.join(text(volume, "name")?))?;
    }
    Ok(())
}

/// What every container of a pod with its own network has.
pub fn common_mounts(pod: &Pod, container: &str, ip: &str) -> Result<Vec<Mount>> {
    let folder = of_pod(pod);
    let termination = folder.join("containers").join(container).join("termination-log");
    let hosts = folder.join("etc-hosts");
    fs::create_dir_all(termination.parent().context("no folder")?)?;
    fs::write(&termination, "")?;
    fs::write(&hosts, format!("127.0.0.1\tlocalhost\n{ip}\t{}\n", pod.name))?;
    let mount = |from: PathBuf, to: &str| Mount {
        container_path: to.to_owned(),
        host_path: from.display().to_string(),
        ..Mount::default()
    };
    Ok(vec![mount(hosts, "/etc/hosts"), mount(termination, "/dev/termination-log")])
}

fn of_pod(pod: &Pod) -> PathBuf {
    Path::new(ROOT).join("pods").join(&pod.uid)
}

/// The folder of a pod's ConfigMaps, by volume.
pub fn config_maps(pod: &Pod) -> PathBuf {
    of_pod(pod).join("volumes/kubernetes.io~configmap")
}

/// Makes a pod's cgroup, in which every controller is enabled.
pub fn make_cgroup(path: &str) -> Result<()> {
    let mut folder = PathBuf::from(CGROUPS);
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let all = fs::read_to_string(folder.join("cgroup.controllers"))
            .map_err(|error| anyhow!("{}: {error}: no cgroup v2", folder.display()))?;
        let enable: String = all.split_whitespace().map(|name| format!("+{name} ")).collect();
        fs::write(folder.join("cgroup.subtree_control"), enable.trim_end())
            .with_context(|| format!("controllers of {}", folder.display()))?;
        folder.push(part);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

/// The folder of the seccomp profiles that pods name.
pub fn profiles() -> PathBuf {
    Path::new(ROOT).join("seccomp")
}

/// Removes a pod's files, but not its logs, and its cgroup, which must be empty.
pub fn remove(pod: &Pod) -> Result<()> {
    fs::remove_dir_all(of_pod(pod)).context("the pod's folder")?;
    let cgroup = format!("{CGROUPS}{}", pod.cgroup()?);
    fs::remove_dir(&cgroup).with_context(|| format!("{cgroup} is not empty"))
}

/// What a container has printed.
pub fn log(pod: &Pod, container: &str) -> Result<String> {
    let path = pod.logs().join(container).join("0.log");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(plain(&text))
}

/// Text of lines `TIME stdout|stderr F|P TEXT`, where P is a part of a line.
fn plain(log: &str) -> String {
    let mut plain = String::new();
    for line in log.lines() {
        let mut words = line.splitn(4, ' ').skip(2);
        let (tag, text) = (words.next(), words.next().unwrap_or_default());
        plain.push_str(text);
        if tag == Some("F") {
            plain.push('\n');
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_long_line_are_joined() {
        let log = "2026-01-01T00:00:00Z stderr P one \n2026-01-01T00:00:00Z stderr F line\n\
                   2026-01-01T00:00:01Z stdout F two words\n2026-01-01T00:00:01Z stdout F \n";
        assert_eq!(plain(log), "one line\ntwo words\n\n");
    }
}
