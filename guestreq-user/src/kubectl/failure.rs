//! # Why something was not answered
//!
//! kubectl explains itself on standard error, in one of many lines. One of them becomes the reason.

use std::time::Duration;

use crate::{
    cli::table::truncated,
    text::{duration, printable},
};

#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    NoKubectl,
    NoCluster(String),
    /// Of one node it is true of all.
    Forbidden(String),
    /// Pod, container or node is no longer there.
    Gone(String),
    /// The kind is not known to the server.
    NoSuchKind,
    TimedOut(Duration),
    Other(String),
}

/// Characters of kubectl's line that are shown.
const MOST: usize = 300;

/// Prints one line on standard error.
pub fn say(line: &str) {
    eprintln!("kubectl-guestreq: {}", printable(line));
}

/// From what kubectl printed on standard error.
pub fn of(stderr: &str) -> Failure {
    let line = line_of(stderr);
    let has = |words: &[&str]| words.iter().any(|words| line.contains(words));
    if has(&["(Forbidden)", " is forbidden: "]) {
        return Failure::Forbidden(line);
    }
    // Of the credentials, for whatever is asked.
    if has(&[
        "Unable to connect to the server",
        "The connection to the server",
        "no configuration has been provided",
        "You must be logged in",
        "(Unauthorized)",
        "invalid configuration",
        "getting credentials",
        "context was not found",
        "error loading config file",
    ]) || (line.contains("context \"") && line.contains("does not exist"))
    {
        return Failure::NoCluster(line);
    }
    if has(&["the server doesn't have a resource type"]) {
        return Failure::NoSuchKind;
    }
    if has(&["(NotFound)", "container not found", "not found in pod", "completed pod"]) {
        return Failure::Gone(line);
    }
    Failure::Other(line)
}

/// The line that explains the most: the last one that is neither a warning nor a consequence.
fn line_of(stderr: &str) -> String {
    let mut lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let explains = |line: &&str| {
        !line.starts_with("Warning:")
            && !line.starts_with("Defaulted container")
            && !line.starts_with("command terminated with exit code")
            && !line.starts_with("For more information, try")
            && !line.starts_with("Usage:")
            && !is_logged(line)
    };
    let line = lines.clone().rfind(explains).or_else(|| lines.next_back());
    truncated(line.unwrap_or("it failed without a message"), MOST)
}

/// `W1129 07:52:38.123456   12345 loader.go:222] …`, of Kubernetes' libraries.
fn is_logged(line: &str) -> bool {
    let mut chars = line.chars();
    chars.next().is_some_and(|c| "IWEF".contains(c))
        && chars.by_ref().take(4).filter(char::is_ascii_digit).count() == 4
        && chars.next() == Some(' ')
}

impl Failure {
    /// For a request without which nothing else can be asked.
    pub fn of_cluster(&self) -> String {
        match self {
            Failure::NoKubectl => {
                "kubectl is not in PATH: install it, or add its folder to PATH".to_owned()
            }
            Failure::NoCluster(line) => {
                format!(
                    "kubectl reaches no cluster: {line}; see --context, --kubeconfig and `kubectl cluster-info`"
                )
            }
            Failure::Forbidden(line) => {
                format!(
                    "not permitted: {line}; the permissions that are needed: deploy/kubernetes/kubectl"
                )
            }
            Failure::Gone(line) | Failure::Other(line) => line.clone(),
            Failure::NoSuchKind => "the cluster has no such kind of objects".to_owned(),
            Failure::TimedOut(limit) => format!(
                "kubectl did not answer within {}: see `kubectl cluster-info`",
                duration(limit.as_secs_f64())
            ),
        }
    }

    /// Why one node did not answer.
    pub fn of_node(&self, pod: &str) -> String {
        match self {
            Failure::Gone(line) => format!("pod {pod} has disappeared: {line}"),
            Failure::TimedOut(limit) => {
                format!(
                    "pod {pod} did not answer within {} (--timeout)",
                    duration(limit.as_secs_f64())
                )
            }
            Failure::Other(line) if line.contains("unrecognized subcommand") => {
                format!("its agent is older than this plugin: {line}")
            }
            Failure::Other(line) => line.clone(),
            other => other.of_cluster(),
        }
    }

    /// Whether other nodes would answer the same.
    pub fn is_of_all(&self) -> bool {
        matches!(self, Failure::NoKubectl | Failure::Forbidden(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_consequences_are_no_reasons() {
        let stderr = "Warning: v1 ComponentStatus is deprecated\n\
                      W1129 07:52:38.123456   12345 loader.go:222] Config not found: /x\n\
                      guestreq: no agent answers at /run/guestreq/agent.sock\n\
                      command terminated with exit code 1\n";
        let line = "guestreq: no agent answers at /run/guestreq/agent.sock";
        assert_eq!(of(stderr), Failure::Other(line.to_owned()));
        let only = "command terminated with exit code 137";
        assert_eq!(of(only), Failure::Other(only.to_owned()));
        assert_eq!(of(""), Failure::Other("it failed without a message".to_owned()));
    }

    #[test]
    fn kubectl_s_errors_are_distinguished() {
        let kind = |line: &str| match of(line) {
            Failure::NoCluster(_) => "no cluster",
            Failure::Forbidden(_) => "forbidden",
            Failure::Gone(_) => "gone",
            Failure::NoSuchKind => "no kind",
            Failure::Other(_) => "other",
            _ => "?",
        };
        for (line, wanted) in [
            (
                "The connection to the server localhost:8080 was refused - did you specify the right host or port?",
                "no cluster",
            ),
            ("Unable to connect to the server: dial tcp 10.0.0.1:443: i/o timeout", "no cluster"),
            ("error: context \"x\" does not exist", "no cluster"),
            ("error: You must be logged in to the server (Unauthorized)", "no cluster"),
            (
                "Error from server (Forbidden): pods is forbidden: User \"u\" cannot list resource \"pods\"",
                "forbidden",
            ),
            ("Error from server (NotFound): pods \"guestreq-x\" not found", "gone"),
            ("error: unable to upgrade connection: container not found (\"agent\")", "gone"),
            (
                "error: the server doesn't have a resource type \"virtualmachineinstances\"",
                "no kind",
            ),
            (
                "error: error dialing backend: dial tcp 10.0.0.7:10250: connect: no route to host",
                "other",
            ),
        ] {
            assert_eq!(kind(line), wanted, "{line}");
        }
    }

    #[test]
    fn a_reason_is_one_printable_line_of_bounded_length() {
        let Failure::Other(line) = of("a\n\u{1b}[2Jb\u{202e}") else { panic!("other") };
        assert_eq!(line, "\\u{1b}[2Jb\\u{202e}");
        let Failure::Other(long) = of(&"x".repeat(100_000)) else { panic!("other") };
        assert_eq!(long.chars().count(), MOST + 1);
        let Failure::Other(old) = of(
            "error: unrecognized subcommand 'condition'\n\nUsage: guestreq <COMMAND>\n\nFor more information, try '--help'.\ncommand terminated with exit code 2\n",
        ) else {
            panic!("other")
        };
        assert!(
            Failure::Other(old).of_node("p").starts_with("its agent is older than this plugin")
        );
    }
}
