//! # The plugin's options
//!
//! They may stand before, within or after the agent's command. What is no option of the plugin is the
//! command's.

use std::{ffi::OsString, time::Duration};

use anyhow::{Result, anyhow, bail};
use clap::{ArgAction, CommandFactory as _, FromArgMatches as _, Parser, error::ErrorKind};

use super::{process::Kubectl, verb};

/// Per-VM accounting, latency and policy of SEV-SNP guest requests, on the nodes of a cluster
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-guestreq",
    bin_name = "kubectl guestreq",
    version,
    max_term_width = 100,
    override_usage = "kubectl guestreq COMMAND... [--node NODE | --all-nodes | --vm NAMESPACE/VMI] [OPTIONS]",
    after_help = "\
COMMAND is one of guestreq's own and runs in the agent's pod: kubectl guestreq COMMAND --help. Options after -- \
are the command's.

With --all-nodes: vms, launches, psp, condition, doctor, policy show and limit show; -o json has the nodes' \
answers. Nodes that do not answer are named on standard error.

Exit status: that of the command; with --all-nodes 0, 1 (nothing was asked), 2 (usage) or 3 (some nodes did not \
answer).

Examples:
kubectl guestreq vms --all-nodes
kubectl guestreq condition --all-nodes
kubectl guestreq limit set --vm prod/web-1 --share 10%
kubectl guestreq top --node worker-7"
)]
pub struct Args {
    /// This node's agent [default: the only one, if there is one]
    #[arg(long, value_name = "NODE", group = "selection")]
    node: Option<String>,
    /// All nodes with an agent
    #[arg(long, group = "selection")]
    all_nodes: bool,
    /// The agent on the node of this VM: a KubeVirt VM, or a name or UUID in `guestreq vms`. A command that
    /// takes a VM gets it; vms and launches show only it
    #[arg(long, value_name = "NAMESPACE/VMI", group = "selection")]
    vm: Option<String>,
    /// The agents' namespace
    #[arg(short, long, value_name = "NAMESPACE", default_value = "guestreq")]
    namespace: String,
    /// Labels of the agents' pods
    #[arg(
        short = 'l',
        long,
        value_name = "LABELS",
        default_value = "app.kubernetes.io/name=guestreq,app.kubernetes.io/component=agent"
    )]
    selector: String,
    /// How many nodes are asked at a time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// How long a node may take to answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    timeout: Duration,
    #[command(flatten)]
    connection: Connection,
    #[arg(last = true, hide = true)]
    pub command: Vec<String>,
}

/// As kubectl's own.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options for kubectl")]
struct Connection {
    /// The kubeconfig file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,
    /// The kubeconfig's context
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The kubeconfig's cluster
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The kubeconfig's user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The user to impersonate
    #[arg(long = "as", value_name = "USER")]
    as_user: Option<String>,
    /// A group to impersonate; may be repeated
    #[arg(long, value_name = "GROUP")]
    as_group: Vec<String>,
    /// The API server
    #[arg(short, long, value_name = "URL")]
    server: Option<String>,
    /// The API server's certificate authority
    #[arg(long, value_name = "FILE")]
    certificate_authority: Option<String>,
    /// The name in the API server's certificate
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// Do not verify the API server's certificate
    #[arg(long)]
    insecure_skip_tls_verify: bool,
    /// A bearer token
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Where kubectl caches what it knows of the API
    #[arg(long, value_name = "FOLDER")]
    cache_dir: Option<String>,
}

/// Which agents to ask.
pub enum Selection {
    /// If there is only one.
    OnlyNode,
    Node(String),
    AllNodes,
    Vm(String),
}

fn timeout(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    range.contains(&time).then_some(time).ok_or_else(|| "allowed are 100ms to 1h".to_owned())
}

impl Args {
    /// Prints help or a usage error and exits, as clap does.
    pub fn parse() -> Result<Args> {
        let args = Args::of(std::env::args_os().skip(1).collect()).unwrap_or_else(|e| e.exit());
        if args.command.is_empty() {
            let why = "no command: try `kubectl guestreq vms --all-nodes`, or --help\n";
            Args::command().error(ErrorKind::MissingRequiredArgument, why).exit();
        }
        verb::answer_help(&args.command);
        Ok(args)
    }

    pub fn of(words: Vec<OsString>) -> Result<Args, clap::Error> {
        let words = sorted(words);
        let matches = Args::command().try_get_matches_from(words)?;
        Args::from_arg_matches(&matches)
    }

    pub fn selection(&self) -> Result<Selection> {
        Ok(match (&self.node, &self.vm) {
            _ if self.all_nodes => Selection::AllNodes,
            (Some(node), _) => Selection::Node(
                dns_name(node).ok_or_else(|| anyhow!("--node {node:?}: no node's name"))?,
            ),
            (None, Some(vm)) if vm.is_empty() => bail!("--vm is empty: give NAMESPACE/VMI"),
            (None, Some(vm)) => Selection::Vm(vm.clone()),
            (None, None) => Selection::OnlyNode,
        })
    }

    pub fn kubectl(&self) -> Kubectl {
        let of = &self.connection;
        let mut options = Vec::new();
        let mut add = |name: &str, value: Option<&String>| {
            options.extend(value.map(|value| format!("--{name}={value}")));
        };
        add("kubeconfig", of.kubeconfig.as_ref());
        add("context", of.context.as_ref());
        add("cluster", of.cluster.as_ref());
        add("user", of.user.as_ref());
        add("as", of.as_user.as_ref());
        for group in &of.as_group {
            add("as-group", Some(group));
        }
        add("server", of.server.as_ref());
        add("certificate-authority", of.certificate_authority.as_ref());
        add("tls-server-name", of.tls_server_name.as_ref());
        add("token", of.token.as_ref());
        add("cache-dir", of.cache_dir.as_ref());
        if of.insecure_skip_tls_verify {
            options.push("--insecure-skip-tls-verify".to_owned());
        }
        Kubectl {
            options,
            namespace: self.namespace.clone(),
            selector: self.selector.clone(),
            timeout: self.timeout,
        }
    }

    pub fn parallel(&self) -> usize {
        usize::from(self.parallel)
    }
}

/// A name that Kubernetes allows for nodes, pods and namespaces.
pub fn dns_name(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_one = text.len() <= 253
        && text.chars().all(allowed)
        && text.starts_with(edge)
        && text.ends_with(edge);
    is_one.then(|| text.to_owned())
}

/// The plugin's options, then `--` and the command.
fn sorted(words: Vec<OsString>) -> Vec<OsString> {
    let mut own = vec![OsString::from("kubectl guestreq")];
    let mut command: Vec<OsString> = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            command.extend(words);
            break;
        }
        // Before the command they are the plugin's, after it the command's.
        let of_plugin = ["-h", "--help", "-V", "--version"].iter().any(|help| word == *help)
            && command.is_empty();
        match of_plugin.then_some(false).or_else(|| takes_next(&word)) {
            None => command.push(word),
            Some(takes_next) => {
                own.push(word);
                own.extend(takes_next.then(|| words.next()).flatten());
            }
        }
    }
    own.push("--".into());
    own.extend(command);
    own
}

/// For an option of the plugin, whether the next word is its value.
fn takes_next(word: &OsString) -> Option<bool> {
    let word = word.to_str()?;
    let command = Args::command();
    let mut all = command.get_arguments().filter(|arg| arg.get_id() != "command");
    let (arg, has_value) = match word.strip_prefix("--") {
        Some(long) => {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            (all.find(|arg| arg.get_long() == Some(name))?, value.is_some())
        }
        None => {
            let mut letters = word.strip_prefix('-')?.chars();
            let short = letters.next()?;
            (all.find(|arg| arg.get_short() == Some(short))?, letters.next().is_some())
        }
    };
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    Some(takes && !has_value)
}
