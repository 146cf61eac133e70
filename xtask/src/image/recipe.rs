//! # The Containerfile
//!
//! The few instructions that an image without a build needs. Any other is an error, so that both
//! ways of building stay equivalent.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    pub labels: BTreeMap<String, String>,
    /// From the build folder to the image's root.
    pub copies: Vec<(String, String)>,
    pub user: String,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
}

impl Recipe {
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let mut recipe = Self::default();
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            recipe.instruction(line).with_context(|| format!("{line:?}"))?;
        }
        Ok(recipe)
    }

    fn instruction(&mut self, line: &str) -> Result<()> {
        let (word, rest) = line.split_once(' ').context("no argument")?;
        match word {
            "FROM" if rest == "scratch" => {}
            "LABEL" => {
                let (name, value) = rest.split_once('=').context("no value")?;
                self.labels.insert(name.to_owned(), serde_json::from_str(value)?);
            }
            "COPY" => {
                let (from, to) = rest.split_once(' ').context("not two paths")?;
                let from = from.strip_prefix("target/dist/").context("not of target/dist")?;
                let to = to.strip_prefix('/').context("not an absolute path")?;
                self.copies.push((from.to_owned(), to.to_owned()));
            }
            "USER" => self.user = rest.to_owned(),
            "ENTRYPOINT" => self.entrypoint = serde_json::from_str(rest)?,
            "CMD" => self.cmd = serde_json::from_str(rest)?,
            _ => bail!("xtask's image has no such instruction"),
        }
        Ok(())
    }

    /// Title and version, as in the manifests.
    pub fn tag(&self) -> String {
        let label = |name: &str| {
            let name = format!("org.opencontainers.image.{name}");
            self.labels.get(&name).map_or("", String::as_str)
        };
        format!("{}:{}", label("title"), label("version"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project;

    #[test]
    fn the_containerfile_is_understood_and_of_this_version() {
        let recipe = Recipe::read(&project::root().join("deploy/Containerfile")).unwrap();
        assert_eq!(recipe.tag(), format!("guestreq:{}", env!("CARGO_PKG_VERSION")));
        assert_eq!(recipe.copies[0], ("guestreq".to_owned(), "guestreq".to_owned()));
        assert_eq!(recipe.entrypoint, ["/guestreq"]);
        assert_eq!(recipe.user, "0:0");
    }

    #[test]
    fn an_unsupported_instruction_is_refused() {
        for line in ["RUN make", "FROM debian", "COPY /etc/passwd /etc/passwd", "LABEL x"] {
            let error = format!("{:#}", Recipe::parse(line).unwrap_err());
            assert!(error.contains(line), "{error}");
        }
    }
}
