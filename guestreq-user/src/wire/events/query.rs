//! # Selecting events

use std::fmt;

use form_urlencoded::Serializer;

use super::{AgentId, Event, EventData, Kind, Since};
use crate::wire::policy::Target;

/// Parameters of `GET /v1/events`; `kind` and `vm` are repeatable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    pub filter: Filter,
    /// Default: all that the agent still has.
    pub since: Option<Since>,
    /// Only the last N of these.
    pub last: Option<usize>,
    /// Only those after this one; ignored if it is from another agent.
    pub after: Option<After>,
    /// Whether to stay connected for new events.
    pub follow: bool,
}

/// Selects events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Empty: every kind.
    pub kinds: Vec<Kind>,
    /// Labels, names or UUIDs. Empty: all events.
    pub vms: Vec<String>,
    /// Include every request, at a cost for every request of every VM.
    pub all: bool,
}

/// The last event that a client has seen: `AGENT/ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    pub agent: AgentId,
    pub id: u64,
}

impl Filter {
    pub fn admits(&self, event: &Event) -> bool {
        let kind = event.kind();
        if kind == Kind::Lost {
            // The lost events may have matched.
            return true;
        }
        let of_kind = self.kinds.is_empty() || self.kinds.contains(&kind);
        let wanted = kind != Kind::Request || self.all;
        of_kind && wanted && (self.vms.is_empty() || self.names_vm_of(event))
    }

    /// Whether the programs must report every request.
    pub fn wants_requests(&self) -> bool {
        self.all && (self.kinds.is_empty() || self.kinds.contains(&Kind::Request))
    }

    fn names_vm_of(&self, event: &Event) -> bool {
        let is_named = |name: &String| self.vms.contains(name);
        if let EventData::PolicyChanged(changed) = &event.what
            && matches!(&changed.target, Target::Vm(name) if is_named(name))
        {
            // The VM may not be running.
            return true;
        }
        let Some(event_vm) = &event.vm else { return false };
        [&event_vm.vm, &event_vm.name, &event_vm.uuid].into_iter().flatten().any(is_named)
    }
}

impl Query {
    /// Parses a URL's query.
    pub fn parse(text: &str) -> Result<Query, String> {
        let mut query = Query::default();
        for (key, value) in form_urlencoded::parse(text.as_bytes()) {
            let about = |error: String| format!("{key}: {error}");
            let number = || value.parse().map_err(|_| about(format!("{value:?} is not a number")));
            let flag = || match &*value {
                "true" | "" => Ok(true),
                "false" => Ok(false),
                _ => Err(about(format!("{value:?} is neither true nor false"))),
            };
            match &*key {
                "kind" => query.filter.kinds.push(Kind::named(&value)?),
                "vm" => query.filter.vms.push(value.into_owned()),
                "all" => query.filter.all = flag()?,
                "since" => query.since = Some(value.parse().map_err(about)?),
                "last" => query.last = Some(number()?),
                "after" => {
                    query.after = Some(After::parse(&value).ok_or_else(|| {
                        about(format!("{value:?} is not an event's agent, / and its id"))
                    })?)
                }
                "follow" => query.follow = flag()?,
                _ => {
                    return Err(format!(
                        "unknown parameter {key:?}: there are since, kind, vm, all, follow, last \
                         and after"
                    ));
                }
            }
        }
        if query.filter.kinds.contains(&Kind::Request) && !query.filter.all {
            return Err("kind request needs all=true".to_owned());
        }
        Ok(query)
    }
}

/// Encodes a URL's query.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Query { filter, since, last, after, follow } = self;
        let mut text = Serializer::new(String::new());
        let mut put = |key, value: Option<String>| {
            if let Some(value) = value {
                text.append_pair(key, &value);
            }
        };
        filter.kinds.iter().for_each(|kind| put("kind", Some(kind.name())));
        filter.vms.iter().for_each(|vm| put("vm", Some(vm.clone())));
        put("all", filter.all.then(|| "true".to_owned()));
        put("since", since.map(|since| since.to_string()));
        put("last", last.map(|last| last.to_string()));
        put("after", after.map(|After { agent, id }| format!("{agent}/{id}")));
        put("follow", follow.then(|| "true".to_owned()));
        f.write_str(&text.finish())
    }
}

impl After {
    fn parse(text: &str) -> Option<After> {
        let (agent, id) = text.split_once('/')?;
        Some(After { agent: agent.parse().ok()?, id: id.parse().ok()? })
    }
}

#[cfg(test)]
mod tests;
