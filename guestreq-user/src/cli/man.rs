//! # guestreq man

use std::{io, process::ExitCode};

use anyhow::Result;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::{Cli, write};

/// Print the manual page: all verbs on one page
#[derive(clap::Args)]
#[command(after_help = "Example: guestreq man > /usr/local/share/man/man8/guestreq.8")]
pub struct Args {}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        write(page(Cli::command())?.as_bytes())
    }
}

/// What follows the verbs.
const END: &str = "\
.SH \"EXIT STATUS\"
.TP
0
success; for doctor: no check failed; for condition: no problem
.TP
1
failure, with one line on standard error; for doctor: a check failed; for condition: a problem
.TP
2
usage error; for condition: unknown
.SH FILES
.TP
/etc/guestreq/config.toml
the configuration
.TP
/run/guestreq/agent.sock
the agent's socket
.TP
/var/lib/guestreq/overrides.json
overrides and the applied policy file
.TP
/sys/fs/bpf/guestreq
pinned programs, links and maps
.TP
/usr/share/doc/guestreq
the documentation: README.md, policy.md, enforcement.md, runbooks and others
";

fn page(command: Command) -> io::Result<String> {
    let mut command = command.disable_help_subcommand(true).subcommand_value_name("verb");
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone()).title("GUESTREQ").section("8").manual("guestreq");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut page = text(page);
    for verb in verbs(&command) {
        page.push_str(&section(verb)?);
    }
    Ok(page + END)
}

/// All leaf verbs, in the order of the help.
pub fn verbs(command: &Command) -> Vec<&Command> {
    let visible = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    visible.flat_map(|verb| if verb.has_subcommands() { verbs(verb) } else { vec![verb] }).collect()
}

/// A verb's name with its parents', such as `guestreq limit set`; needs `Command::build`.
pub fn full_name(verb: &Command) -> &str {
    verb.get_bin_name().unwrap_or_else(|| verb.get_name())
}

/// A verb's section: clap_mangen's, with headings as subsections.
fn section(verb: &Command) -> io::Result<String> {
    // Documented once, for all verbs.
    let verb = verb.clone().mut_args(|arg| match arg.get_id().as_str() {
        "help" => arg.hide(true),
        _ => arg,
    });
    let man = Man::new(verb.clone());
    let mut parts = Vec::new();
    man.render_description_section(&mut parts)?;
    man.render_synopsis_section(&mut parts)?;
    man.render_options_section(&mut parts)?;
    if verb.get_after_help().is_some() {
        man.render_extra_section(&mut parts)?;
    }
    let mut section = format!(".SH \"{}\"\n", full_name(&verb));
    for line in text(parts).lines() {
        match line.strip_prefix(".SH ") {
            // The section has its own heading.
            Some("DESCRIPTION") => {}
            Some("EXTRA") => section.push_str(".SS NOTES\n"),
            Some(heading) => section.push_str(&format!(".SS {heading}\n")),
            None if line.starts_with("Example: ") => section.push_str(&example(line)),
            // Each part begins with definitions of quotes.
            None if line.starts_with(".ie ") || line.starts_with(".el ") => {}
            None => section.push_str(&format!("{line}\n")),
        }
    }
    Ok(section)
}

/// Keeps an example on one line, for copying.
fn example(line: &str) -> String {
    let command = line.trim_start_matches("Example: ");
    format!(".PP\nExample:\n.RS\n.nf\n{command}\n.fi\n.RE\n")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_verb_and_every_option_of_it() {
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        let page = page(Cli::command()).unwrap();
        assert_eq!(page.matches(".TH ").count(), 1);
        assert!(verbs(&command).len() >= 14, "{:?}", verbs(&command));
        for verb in verbs(&command) {
            let name = full_name(verb);
            let begin = page.find(&format!(".SH \"{name}\"\n")).unwrap_or_else(|| panic!("{name}"));
            let section = &page[begin + 4..];
            let section = &section[..section.find(".SH ").unwrap()];
            for option in verb.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let Some(long) = option.get_long().filter(|long| *long != "help") else { continue };
                let escaped = long.replace('-', "\\-");
                assert!(section.contains(&format!("\\-\\-{escaped}")), "{name} --{long}");
            }
        }
        assert!(!page.contains("die\\-at"), "what is hidden is shown");
    }
}
