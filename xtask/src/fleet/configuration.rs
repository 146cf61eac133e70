//! # The leaf's and the centre's configurations: those in dashboards/fleet, with our addresses

use std::fs;

use anyhow::{Context, Result};

use super::Leaf;
use crate::project;
use crate::prometheus::replaced;

/// Ports of 127.0.0.1.
pub struct Targets {
    pub agents: u16,
    pub centre: u16,
    pub victoria: Option<u16>,
}

/// dashboards/fleet/leaf.yml. Native histograms need what docs/histograms.md says.
pub fn leaf(targets: &Targets, hosts: u16, kind: Leaf) -> Result<String> {
    let rules = project::root().join("dashboards/rules");
    let list = project::logs().join("hosts.json");
    let host = |n| {
        let labels =
            [("instance", format!("host-{n:03}")), ("__metrics_path__", format!("/metrics/{n}"))];
        let labels: serde_json::Map<_, _> =
            labels.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        serde_json::json!({ "targets": [format!("127.0.0.1:{}", targets.agents)], "labels": labels })
    };
    let all: Vec<_> = (0..hosts).map(host).collect();
    fs::create_dir_all(project::logs())?;
    fs::write(&list, serde_json::to_string(&all)?)
        .with_context(|| format!("cannot write {}", list.display()))?;
    let mut rule_files = format!("{}/*.yml", rules.display());
    let mut job = "job_name: guestreq\n".to_owned();
    if kind == Leaf::Native {
        rule_files += &format!("\n  - {}/native/*.yml", rules.display());
        job += "    convert_classic_histograms_to_nhcb: true\n";
    }
    let victoria = targets.victoria.map_or(String::new(), |port| {
        // Two receivers with the same filter.
        format!("  - url: http://127.0.0.1:{port}/api/v1/write\n    write_relabel_configs: &keep\n")
    });
    let own = format!("http://127.0.0.1:{}", targets.centre);
    let config = replaced(
        read("leaf.yml")?,
        &[
            ("../rules/*.yml", &rule_files),
            ("job_name: guestreq\n", &job),
            ("/etc/prometheus/hosts/*.json", &list.display().to_string()),
            ("https://centre.example", &own),
        ],
    )?;
    if victoria.is_empty() {
        return Ok(config);
    }
    let url = format!("  - url: {own}/api/v1/write\n");
    let again = format!("{url}    write_relabel_configs: *keep\n");
    let second = config.replace(&format!("{url}    write_relabel_configs:\n"), &victoria);
    Ok(second.replace("\nalerting:", &format!("{again}\nalerting:")))
}

/// dashboards/fleet/centre.yml, with our leaf.
pub fn centre(leaf: u16) -> Result<String> {
    let targets = r#"["leaf-fra1.example:9090", "leaf-ams1.example:9090"]"#;
    replaced(read("centre.yml")?, &[(targets, &format!("[\"127.0.0.1:{leaf}\"]"))])
}

fn read(name: &str) -> Result<String> {
    let path = project::root().join("dashboards/fleet").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_converts_or_sends_twice_only_when_asked() {
        let leaf = |victoria, kind| leaf(&Targets { agents: 1, centre: 2, victoria }, 3, kind);
        let plain = leaf(None, Leaf::Two).unwrap();
        assert!(!plain.contains("nhcb") && !plain.contains("native"), "{plain}");
        let native = leaf(None, Leaf::Native).unwrap();
        assert!(native.contains("convert_classic_histograms_to_nhcb: true"), "{native}");
        assert!(native.contains("rules/native/*.yml"), "{native}");
        let both = leaf(Some(4), Leaf::Two).unwrap();
        let parsed: serde_json::Value = serde_saphyr::from_str(&both).unwrap();
        let sends = parsed["remote_write"].as_array().unwrap();
        assert_eq!(sends.len(), 2, "{both}");
        assert_eq!(sends[0]["write_relabel_configs"], sends[1]["write_relabel_configs"]);
    }
}
