//! # Generates docs/cli.md

mod json;
mod types;

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use super::{
    Cli,
    man::{full_name, verbs},
};
use crate::docs;

const BEGIN: &str = "\
# Command line

Generated from guestreq-user/src/cli and the types of its JSON by their tests (`UPDATE_DOCS=1 cargo \
test -p guestreq`): edit there. `guestreq man` prints a manual page, `guestreq completions` shell \
completions.

| exit status | means |
|---|---|
| 0 | success; for `doctor`: no check failed; for `condition`: no problem |
| 1 | failure, with one line on standard error; for `doctor`: a check failed; for `condition`: a problem |
| 2 | usage error; for `condition`: unknown |

Tables may change. JSON (`-o json`) is stable: fields may be added, but keep their names and \
meaning. Colours and symbols are for terminals only; `NO_COLOR` disables colours.
";

#[test]
fn the_reference_of_the_command_line_is_current() {
    docs::assert_current("docs/cli.md", &reference());
}

fn reference() -> String {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let verbs = verbs(&command);
    let mut text = BEGIN.to_owned() + "\n";
    for verb in &verbs {
        let name = full_name(verb);
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(text, "- [`{name}`](#{}): {}", docs::slug(name), escape(&about)).unwrap();
    }
    let types = types::Types::read();
    let prints = |verb: &&&Command| verb.get_arguments().any(|arg| arg.get_id() == "output");
    let names = verbs.iter().filter(prints).map(|verb| full_name(verb));
    let unknown: Vec<_> = names.filter(|name| types.printed_by(name).is_none()).collect();
    assert!(unknown.is_empty(), "no type's comment says `VERB -o json`, add it: {unknown:?}");
    for verb in &verbs {
        text.push_str(&section(verb, &types));
    }
    text + &json::reference(&types)
}

fn section(verb: &Command, types: &types::Types) -> String {
    let name = full_name(verb);
    let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = verb.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let mut text = format!("\n## {name}\n\n{}.\n\n```text\n{usage}\n```\n", escape(&about));
    let shown = |arg: &&Arg| !arg.is_hide_set() && arg.get_id() != "help";
    let arguments: Vec<&Arg> = verb.get_arguments().filter(shown).collect();
    if !arguments.is_empty() {
        text.push_str("\n| option | what it does |\n|---|---|\n");
        for arg in arguments {
            writeln!(text, "| `{}` | {} |", option(arg), escape(&help(arg))).unwrap();
        }
    }
    if let Some(notes) = verb.get_after_help() {
        for paragraph in notes.to_string().split("\n\n") {
            text.push_str(&format!("\n{}", note(paragraph)));
        }
    }
    if let Some(answer) = types.printed_by(name) {
        writeln!(text, "\nJSON: [{answer}](#{}).", answer.to_lowercase()).unwrap();
    }
    text
}

/// `-o, --output <OUTPUT>`
fn option(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default().iter();
    let takes_one = arg.get_action().takes_values();
    let values: Vec<_> = values.filter(|_| takes_one).map(|name| format!("<{name}>")).collect();
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let names = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
    [names, values.join(" ")].join(" ").trim().to_owned()
}

fn help(arg: &Arg) -> String {
    let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<_> = arg.get_possible_values();
    let values: Vec<_> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
    if arg.get_action().takes_values() && !values.is_empty() {
        if !help.is_empty() {
            help.push_str(": ");
        }
        help.push_str(&values.join(", "));
    }
    let default: Vec<_> = arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    if arg.get_action().takes_values() && !default.is_empty() {
        help.push_str(&format!(" [default: {}]", default.join(" ")));
    }
    if let Some(variable) = arg.get_env() {
        help.push_str(&format!(" [env: {}]", variable.to_string_lossy()));
    }
    help
}

/// A paragraph after the help; one that begins with "Example" lists commands.
fn note(paragraph: &str) -> String {
    let example = paragraph.trim().strip_prefix("Example");
    let Some((_, commands)) = example.and_then(|rest| rest.split_once(':')) else {
        return format!("{}\n", escape(paragraph.trim()));
    };
    let lines: Vec<_> = commands.trim().lines().map(str::trim).collect();
    format!("```sh\n{}\n```\n", lines.join("\n"))
}

/// Escapes Markdown.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "\\<").replace("\n", " ").replace("/*", "/\\*")
}
