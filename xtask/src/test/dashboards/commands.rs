//! # Commands in runbooks
//!
//! Commands, options and kinds of events must be in docs/cli.md, which is generated from the
//! command line.

use std::collections::BTreeMap;

/// docs/cli.md's text on each command.
pub struct Commands<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Commands<'a> {
    pub fn parse(markdown: &'a str) -> Self {
        let sections = markdown.split("\n## ").skip(1);
        let verb =
            |section: &'a str| Some((section.lines().next()?.strip_prefix("guestreq ")?, section));
        Self(sections.filter_map(verb).collect())
    }

    /// Faults of the commands in a page's code.
    pub fn faults(&self, page: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for code in code(page) {
            for command in code.split("guestreq ").skip(1) {
                faults.extend(
                    self.fault(command).map(|fault| format!("guestreq {command}: {fault}")),
                );
            }
        }
        faults
    }

    fn fault(&self, command: &str) -> Option<String> {
        let ends = |word: &&str| !["|", "&&", ";", "#"].contains(word);
        let words: Vec<_> = command.split_whitespace().take_while(ends).collect();
        // At the end of a command, as in `systemctl start guestreq`, it is not a command of ours.
        let first = words.first()?;
        let two = words.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        let Some(section) = self.0.get(two.as_str()).or_else(|| self.0.get(*first)) else {
            return Some("no such verb".into());
        };
        let mut before = "";
        for word in words {
            let word = word.trim_end_matches([',', ';']);
            // In the table an option precedes its value, or stands alone.
            let known = |word: &str| {
                [' ', '`', ','].iter().any(|c| section.contains(&format!("{word}{c}")))
            };
            if word.starts_with('-') && !known(word) {
                return Some(format!("no option {word}"));
            }
            if before == "--kind" && !section.contains(&format!("`{word}`")) {
                return Some(format!("no kind {word}"));
            }
            before = word;
        }
        None
    }
}

/// Code in fences and backticks.
fn code(page: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut code = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            code.push(line);
        } else {
            code.extend(line.split('`').skip(1).step_by(2));
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLI: &str = "# Command line\n\n## guestreq events\n\n| `--kind <KIND>` | Only: `denied` |\n\
        | `-n, --last <N>` | So many |\n\n## guestreq limit set\n\n| `--off` | No limit |\n";

    #[test]
    fn valid_commands_pass_and_others_are_reported() {
        let commands = Commands::parse(CLI);
        let page = "Type `guestreq limit set --off`:\n```sh\n\
            sudo guestreq events --kind denied -n 5 | jq --raw   # --none\n```\nor guestreq cures it.";
        assert_eq!(commands.faults(page), [""; 0]);
        for (command, says) in [
            ("guestreq limits", "no such verb"),
            ("guestreq events --all", "no option --all"),
            ("guestreq limit set --of", "no option --of"),
            ("guestreq events --kind denied --kind other", "no kind other"),
        ] {
            let faults = commands.faults(&format!("`{command}`")).join("; ");
            assert!(faults.contains(says), "{command}: {faults:?}");
        }
    }
}
