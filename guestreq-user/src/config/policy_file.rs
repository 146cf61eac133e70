//! # Policy files
//!
//! What `policy apply` takes: only those keys of the configuration that set policies.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{Layer, first_of, keys::POLICY, read_file};
use crate::policy::PolicyFile;

/// Reads a policy file; other keys are an error.
pub fn policy_file(path: &Path) -> Result<PolicyFile> {
    let name = path.display().to_string();
    let text = read_file(path).with_context(|| name.clone())?;
    let layer = match Layer::parse(&name, &text) {
        Ok(layer) => layer,
        Err(faults) => return Err(first_of(&name, &faults)),
    };
    if let Some((key, at)) = layer.others.first() {
        let keys = policy_keys();
        bail!("{at}: {key} cannot be applied, only {keys}: set it in the configuration");
    }
    Ok(layer.policy)
}

/// The keys of policy files as users write them.
pub fn policy_keys() -> String {
    let [rest @ .., last] = POLICY.map(|key| if key == "vm" { "[[vm]]" } else { key });
    format!("{} and {last}", rest.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<PolicyFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.toml");
        std::fs::write(&path, text).unwrap();
        policy_file(&path)
    }

    #[test]
    fn an_applied_file_contains_only_policy() {
        let policy_file =
            of("mode = \"audit\"\n[[vm]]\nmatch = { name = \"a\" }\nlimit = \"off\"\n");
        assert_eq!(policy_file.unwrap().rules.len(), 1);
        let error = format!("{:#}", of("mode = \"audit\"\nlisten = \"[::]:1\"\n").unwrap_err());
        assert!(
            error.ends_with(
                "f.toml:2: listen cannot be applied, only mode, allow, limit, weight and [[vm]]: \
                 set it in the configuration"
            ),
            "{error}"
        );
        let error = format!("{:#}", of("mode = \"on\"").unwrap_err());
        assert!(error.contains("f.toml: line 1, column 8: unknown mode"), "{error}");
    }
}
