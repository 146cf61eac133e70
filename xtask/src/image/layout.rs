//! # The OCI image layout
//!
//! <https://github.com/opencontainers/image-spec>: blobs by their digest, and an index. The layer
//! is not compressed, as compressors' output differs between versions.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::recipe::Recipe;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

pub struct Layout {
    /// By their hexadecimal digests.
    blobs: BTreeMap<String, Vec<u8>>,
    /// The descriptor of the manifest.
    manifest: Value,
}

impl Layout {
    /// The image of a recipe, with files from a folder.
    pub fn of(recipe: &Recipe, folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for (from, to) in &recipe.copies {
            add(&folder.join(from), to, &mut files)?;
        }
        let mut layout = Self { blobs: BTreeMap::new(), manifest: Value::Null };
        let layer = layout.add(LAYER, tar(files)?);
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "User": recipe.user,
                "Entrypoint": recipe.entrypoint,
                "Cmd": recipe.cmd,
                "Labels": recipe.labels,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = layout.add(CONFIG, serde_json::to_vec(&config)?);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
            "annotations": recipe.labels,
        });
        layout.manifest = layout.add(MANIFEST, serde_json::to_vec(&manifest)?);
        Ok(layout)
    }

    /// The manifest's digest, by which registries address it.
    pub fn digest(&self) -> &str {
        self.manifest["digest"].as_str().unwrap_or_default()
    }

    /// The layout in one tar archive, with this reference name.
    pub fn archive(&self, tag: &str) -> Result<Vec<u8>> {
        let mut manifest = self.manifest.clone();
        manifest["platform"] = json!({"architecture": "amd64", "os": "linux"});
        let version = tag.split_once(':').map_or(tag, |(_, version)| version);
        manifest["annotations"] = json!({
            "org.opencontainers.image.ref.name": version,
            "io.containerd.image.name": format!("docker.io/library/{tag}"),
        });
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]});
        let mut files = vec![
            ("oci-layout".to_owned(), 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), 0o644, serde_json::to_vec(&index)?),
        ];
        for (digest, blob) in &self.blobs {
            files.push((format!("blobs/sha256/{digest}"), 0o644, blob.clone()));
        }
        tar(files)
    }

    fn add(&mut self, kind: &str, blob: Vec<u8>) -> Value {
        let digest: String = Sha256::digest(&blob).iter().map(|b| format!("{b:02x}")).collect();
        let descriptor =
            json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": blob.len()});
        self.blobs.insert(digest, blob);
        descriptor
    }
}

/// A file's path, mode and content.
type File = (String, u32, Vec<u8>);

/// Adds a file, or a folder's files in the order of their names.
fn add(from: &Path, to: &str, files: &mut Vec<File>) -> Result<()> {
    let failed = || format!("cannot read {}", from.display());
    if from.is_dir() {
        let entries = fs::read_dir(from).with_context(failed)?;
        let mut names: Vec<_> = entries
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_>>()
            .with_context(failed)?;
        names.sort();
        for name in names {
            add(&from.join(&name), &format!("{to}/{}", name.to_string_lossy()), files)?;
        }
        return Ok(());
    }
    let content = fs::read(from).with_context(failed)?;
    let mode = if content.starts_with(b"\x7fELF") { 0o755 } else { 0o644 };
    files.push((to.to_owned(), mode, content));
    Ok(())
}

/// A tar of files owned by root, without times.
fn tar(files: Vec<File>) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mode, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        archive.append_data(&mut header, name, content.as_slice())?;
    }
    Ok(archive.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(content: &str) -> Layout {
        let folder = project_folder(content);
        let copies = vec![("file".to_owned(), "bin/file".to_owned())];
        let recipe = Recipe { copies, entrypoint: vec!["/bin/file".into()], ..Recipe::default() };
        let layout = Layout::of(&recipe, &folder).unwrap();
        fs::remove_dir_all(folder).unwrap();
        layout
    }

    fn project_folder(content: &str) -> std::path::PathBuf {
        let name = format!("guestreq-image-{}-{content}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), content).unwrap();
        folder
    }

    #[test]
    fn the_same_files_give_the_same_bytes_whenever_they_were_written() {
        let (first, second) = (image("one"), image("one"));
        assert_eq!(first.archive("a:1").unwrap(), second.archive("a:1").unwrap());
        assert_ne!(first.digest(), image("two").digest());
    }

    #[test]
    fn every_blob_is_what_its_name_says_and_leads_to_the_next() {
        let layout = image("three");
        for (digest, blob) in &layout.blobs {
            let found: String = Sha256::digest(blob).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(&found, digest);
        }
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
            assert_eq!(descriptor["size"], layout.blobs[digest].len());
            layout.blobs[digest].clone()
        };
        let manifest: Value = serde_json::from_slice(&blob(&layout.manifest)).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/bin/file"]));
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let layer = blob(&manifest["layers"][0]);
        let mut archive = tar::Archive::new(layer.as_slice());
        let names: Vec<_> =
            archive.entries().unwrap().map(|e| e.unwrap().path_bytes().to_vec()).collect();
        assert_eq!(names, [b"bin/file"]);
    }
}
