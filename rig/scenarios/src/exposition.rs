//! # The part of Prometheus' text format that scenarios read

use std::collections::BTreeMap;

/// One line: a name, labels, a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub text: String,
    pub samples: Vec<Sample>,
}

impl Metrics {
    pub fn parse(text: &str) -> Metrics {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Metrics { text: text.to_owned(), samples: lines.filter_map(sample).collect() }
    }

    /// Samples of a name whose labels include these.
    pub fn select<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> + 'a {
        self.samples.iter().filter(move |sample| {
            let has = |(label, value): &(&str, &str)| {
                sample.labels.get(*label).is_some_and(|found| found == value)
            };
            sample.name == name && labels.iter().all(has)
        })
    }

    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.select(name, labels).map(|sample| sample.value).sum()
    }

    /// Whether there are such samples, and all are 0; a sum over none is 0, too.
    pub fn is_zero(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let mut samples = self.select(name, labels).peekable();
        samples.peek().is_some() && samples.all(|sample| sample.value == 0.0)
    }

    /// Whether a map is known to have no entries.
    pub fn is_map_empty(&self, map: &str) -> bool {
        self.is_zero("guestreq_map_entries", &[("map", map)])
    }

    /// The values of a label in all samples of a name.
    pub fn values(&self, name: &str, label: &str) -> Vec<String> {
        let values = self.samples.iter().filter(|sample| sample.name == name);
        values.filter_map(|sample| sample.labels.get(label).cloned()).collect()
    }

    /// How many series carry this VM's label.
    pub fn series_of_vm(&self, vm: &str) -> usize {
        let of_vm = |sample: &&Sample| sample.labels.get("vm").is_some_and(|label| label == vm);
        self.samples.iter().filter(of_vm).count()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = series.split_once('{') else {
        return Some(Sample { name: series.to_owned(), labels: BTreeMap::new(), value });
    };
    Some(Sample { name: name.to_owned(), labels: parse_labels(labels.strip_suffix('}')?)?, value })
}

/// `a="b",c="d"`, with escaped quotes, backslashes and newlines.
fn parse_labels(text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.to_owned(), value);
        rest = quoted[end + 1..].trim_start_matches(',');
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_names_labels_and_values() {
        let metrics = Metrics::parse(
            "# HELP x y\nplain 3\nwith{a=\"b\",c=\"d \\\"e\\\"\\n\"} 4.5\nwith{a=\"z\"} 1\n",
        );
        assert_eq!(metrics.sum("plain", &[]), 3.0);
        assert_eq!(metrics.sum("with", &[("a", "b")]), 4.5);
        assert_eq!(metrics.sum("with", &[]), 5.5);
        assert_eq!(metrics.values("with", "c"), ["d \"e\"\n"]);
    }
}
