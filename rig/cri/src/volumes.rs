//! # Volumes
//!
//! Folders of the host, and ConfigMaps, which a kubelet writes into a new folder and then swaps a
//! link to it, so that a container sees all files change at once.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::manifest::{list, only, text};
use crate::messages::container::{Mount, MountPropagation};

/// The mounts of a container, from the pod's volumes; `folder` has the pod's ConfigMaps by volume.
pub fn mounts(spec: &Value, container: &Value, folder: &Path) -> Result<Vec<Mount>> {
    let mount = |mount: &Value| -> Result<Mount> {
        only(mount, "a mount", &["name", "mountPath", "readOnly", "mountPropagation"])?;
        let name = text(mount, "name")?;
        let volume = list(spec, "volumes").find(|volume| volume["name"] == name);
        let volume = volume.with_context(|| format!("no volume {name}"))?;
        let propagation = match mount["mountPropagation"].as_str() {
            None | Some("None") => MountPropagation::Private,
            Some("HostToContainer") => MountPropagation::HostToContainer,
            Some("Bidirectional") => {
                let privileged = container["securityContext"]["privileged"] == true;
                ensure!(privileged, "{name}: Bidirectional is for privileged containers");
                MountPropagation::Bidirectional
            }
            Some(other) => bail!("propagation {other:?}"),
        };
        Ok(Mount {
            container_path: text(mount, "mountPath")?.to_owned(),
            host_path: source(volume, folder)?.display().to_string(),
            readonly: mount["readOnly"] == true,
            propagation: propagation.into(),
        })
    };
    list(container, "volumeMounts").map(mount).collect()
}

fn source(volume: &Value, folder: &Path) -> Result<PathBuf> {
    only(volume, "a volume", &["name", "hostPath", "configMap"])?;
    if volume["configMap"].is_object() {
        return Ok(folder.join(text(volume, "name")?));
    }
    let wanted = &volume["hostPath"];
    let path = PathBuf::from(text(wanted, "path")?);
    let kind = fs::metadata(&path).map(|it| it.file_type());
    let fits = match (wanted["type"].as_str().unwrap_or_default(), kind) {
        ("", _) => true,
        ("DirectoryOrCreate", Err(_)) => {
            fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
            true
        }
        ("Directory" | "DirectoryOrCreate", Ok(kind)) => kind.is_dir(),
        ("File", Ok(kind)) => kind.is_file(),
        ("Socket", Ok(kind)) => kind.is_socket(),
        ("CharDevice", Ok(kind)) => kind.is_char_device(),
        (_, Err(_)) => false,
        (other, _) => bail!("hostPath type {other:?}"),
    };
    ensure!(fits, "hostPath type check failed: {} is not a {}", path.display(), wanted["type"]);
    Ok(path)
}

/// Writes a ConfigMap's files into a new folder below `folder` and swaps the link to it.
pub fn project(data: &Value, folder: &Path) -> Result<()> {
    let version = (0..).map(|n| format!("..version-{n}")).find(|n| !folder.join(n).exists());
    let version = version.context("a new folder's name")?;
    let new = folder.join(&version);
    fs::create_dir_all(&new).with_context(|| new.display().to_string())?;
    for (file, content) in data.as_object().into_iter().flatten() {
        fs::write(new.join(file), content.as_str().unwrap_or_default())?;
        if fs::symlink_metadata(folder.join(file)).is_err() {
            symlink(Path::new("..data").join(file), folder.join(file))?;
        }
    }
    let before = fs::read_link(folder.join("..data"));
    symlink(&version, folder.join("..data_tmp"))?;
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).context("the swap")?;
    // A kubelet removes what nobody can open by name any more.
    if let Ok(before) = before {
        fs::remove_dir_all(folder.join(&before)).context("the old version")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_config_map_is_swapped_at_once() {
        let folder = std::env::temp_dir().join(format!("rig-cri-{}", std::process::id()));
        for (text, version) in [("one", "..version-0"), ("two", "..version-1")] {
            project(&json!({"config.toml": text}), &folder).unwrap();
            assert_eq!(fs::read_to_string(folder.join("config.toml")).unwrap(), text);
            assert_eq!(fs::read_link(folder.join("..data")).unwrap(), Path::new(version));
        }
        assert!(!folder.join("..version-0").exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_host_path_is_checked_before_the_runtime_sees_it() {
        let of = |path: &str, kind: &str| {
            let volume = json!({"name": "a", "hostPath": {"path": path, "type": kind}});
            source(&volume, Path::new("/nowhere"))
        };
        assert_eq!(of("/proc", "Directory").unwrap(), Path::new("/proc"));
        assert!(of("/proc/version", "Directory").is_err());
        assert!(of("/nowhere", "Directory").is_err());
        assert_eq!(of("/nowhere", "").unwrap(), Path::new("/nowhere"));
    }
}
