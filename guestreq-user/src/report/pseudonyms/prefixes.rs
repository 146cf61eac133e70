//! # What pseudonyms look like

use super::patterns::Kind;

/// What pseudonyms begin with: nothing that any name has.
pub struct Prefixes {
    vm: String,
    namespace: String,
    part: String,
    host: String,
    uuid: char,
}

impl Prefixes {
    pub fn of<'a>(names: impl Iterator<Item = &'a str>) -> Prefixes {
        let names: Vec<String> = names.map(str::to_lowercase).collect();
        let is_taken = |prefix: &str, all: &[char]| {
            let next = |name: &String| {
                name.match_indices(prefix).any(|(at, _)| name[at + prefix.len()..].starts_with(all))
            };
            names.iter().any(next)
        };
        let free = |base: &str| {
            let mut prefix = base.to_owned();
            while is_taken(&prefix, &['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
                prefix.push('x');
            }
            prefix
        };
        let mut host = "host".to_owned();
        while names.contains(&host) {
            host.push('x');
        }
        let begin = |digit: &char| digit.to_string().repeat(8);
        let uuid = ('0'..='9').find(|digit| !is_taken(&begin(digit), &['-']));
        Prefixes {
            vm: free("vm"),
            namespace: free("ns"),
            part: free("part"),
            host,
            uuid: uuid.unwrap_or('0'),
        }
    }

    pub fn pseudonym(&self, kind: Kind, number: usize) -> String {
        let Prefixes { vm, namespace, part, host, uuid } = self;
        match kind {
            Kind::Vm => format!("{vm}{number}"),
            Kind::Namespace => format!("{namespace}{number}"),
            Kind::Part => format!("{part}{number}"),
            Kind::Host => host.clone(),
            Kind::Uuid => {
                let group = |length| uuid.to_string().repeat(length);
                format!("{}-{}-{}-{}-{number:012}", group(8), group(4), group(4), group(4))
            }
        }
    }
}
