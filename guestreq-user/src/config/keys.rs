//! # Keys of a file, as they are written
//!
//! Their comments become descriptions in the JSON Schemas and rows in docs/policy.md and
//! docs/reference/keys.md: see schema.rs.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use guestreq_common::policy::{AfterDenial, Backend, Mode};
use serde::Deserialize;
use toml::Spanned;

use super::{order::OrderSwitch, values};
use crate::policy::{FileLimit, FileRule, Named, Types, Weight};

/// Keys of a policy file, which is all that `policy apply` takes.
pub const POLICY: [&str; 5] = ["mode", "allow", "limit", "weight", "vm"];

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Keys {
    /// What enforces decisions; top level only. `"none"` only counts, so no mode can be enforce
    pub backend: Option<Named<Backend>>,
    /// What backend `vcpu` does with a vCPU that has sent a disallowed type; top level only:
    /// [hold it until the type is allowed, or end the VM](enforcement.md#a-disallowed-type)
    pub vcpu_denied: Option<Named<AfterDenial>>,
    /// Observe: nothing is decided; audit: decisions are counted, and every request passes;
    /// enforce: decisions are carried out
    #[cfg_attr(test, schemars(with = "Named<Mode>"))]
    pub mode: Option<Spanned<Named<Mode>>>,
    /// Message types; what is not listed is denied. `unknown` is any other number
    #[cfg_attr(test, schemars(with = "Types"))]
    pub allow: Option<Spanned<Types>>,
    /// How much a VM may use: up to `burst` at once after a quiet period, then `share` or `rate`
    ///
    /// Values: `"off"`, or a `share` of the PSP's time, a `rate`, or both, with `burst` and `force`:
    /// [limits](policy.md#limits)
    #[cfg_attr(test, schemars(with = "FileLimit"))]
    pub limit: Option<Spanned<FileLimit>>,
    /// How much of the PSP a VM gets in relation to others that wait for it:
    /// [weights](policy.md#weights)
    #[cfg_attr(test, schemars(with = "Weight"))]
    pub weight: Option<Spanned<Weight>>,
    /// Rules for some VMs: of those that match a VM, the first one that sets a key wins for it
    ///
    /// Values: `[[vm]]` tables, each with a `match` and the keys that it sets
    ///
    /// Default: none
    #[serde(rename = "vm", deserialize_with = "values::rules")]
    #[cfg_attr(test, schemars(with = "Vec<FileRule>"))]
    pub rules: Vec<Spanned<FileRule>>,
    /// Whether the gate's [order](order.md#switching-it-off) is used; setting that needs
    /// CAP_SYS_ADMIN. Not set: the agent leaves the gate's `depth` as it is
    ///
    /// Default: not set
    pub order: Option<Named<OrderSwitch>>,
    /// Where overrides are kept; top level only
    ///
    /// Values: the absolute path of a folder
    #[serde(deserialize_with = "values::folder")]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = super::schema::ABSOLUTE)))]
    pub state: Option<PathBuf>,
    /// Where metrics and health are served; `--listen` overrides it
    ///
    /// Values: an IP address and a port
    #[serde(deserialize_with = "values::address")]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = super::schema::SOCKET_ADDRESS)))]
    pub listen: Option<SocketAddr>,
    /// The agent's socket; `vms` and `psp` also read this key, unless `--socket` is given
    ///
    /// Values: the absolute path of a socket, of at most 107 bytes
    #[serde(deserialize_with = "values::socket")]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = super::schema::SOCKET)))]
    pub socket: Option<PathBuf>,
    /// Group that may read over the socket, besides root
    ///
    /// Values: a group name in /etc/group, or a group ID
    ///
    /// Default: `"guestreq"`, if that group exists
    #[serde(deserialize_with = "values::group")]
    pub socket_group: Option<String>,
    /// Maximum number of VM records, including those of recently exited VMs; each takes about 13 kB
    /// of kernel memory
    #[serde(deserialize_with = "values::max_vms")]
    #[cfg_attr(test, schemars(range(min = 1, max = values::MAX_VMS)))]
    pub max_vms: Option<u32>,
    /// How long an exited VM's metric series are kept
    ///
    /// Values: a duration, such as `"10s"` or `"5m"`
    #[serde(deserialize_with = "values::duration")]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = crate::wire::policy::schema::TIME)))]
    pub keep_exited_vms: Option<Duration>,
    /// A request that takes longer is logged individually
    ///
    /// Values: a duration, such as `"800ms"` or `"2s"`
    #[serde(deserialize_with = "values::duration")]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = crate::wire::policy::schema::TIME)))]
    pub slow_request: Option<Duration>,
    /// Where labels of the node are written for [Node Feature Discovery](nodes.md#labels)
    ///
    /// Values: the path of a file in nfd's folder `features.d`, such as
    /// `"/etc/kubernetes/node-feature-discovery/features.d/guestreq"`
    ///
    /// Default: not set
    #[serde(deserialize_with = "values::nfd_file")]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = super::schema::NFD_FILE)))]
    pub nfd_file: Option<PathBuf>,
}
