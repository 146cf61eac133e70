//! # Tables of programs and of growth

use serde_json::Value;

/// The key of a table's rows, its title, and its columns with their decimals.
type Table = (&'static str, &'static str, &'static [(&'static str, &'static str, usize)]);

const TABLES: &[Table] = &[
    (
        "program",
        "Programs, as the kernel has them",
        &[
            ("whose", "WHOSE", 0),
            ("name", "NAME", 0),
            ("jited_bytes", "CODE BYTES", 0),
            ("calls", "CALLS", 0),
            ("verified_instructions", "VERIFIED", 0),
        ],
    ),
    (
        "change",
        "Before and after a change, for each request or command",
        &[
            ("unit", "UNIT", 0),
            ("load", "LOAD", 0),
            ("program", "PROGRAM", 0),
            ("before", "BEFORE", 0),
            ("now", "NOW", 0),
            ("ratio", "RATIO", 3),
            ("least_before", "LEAST BEFORE", 0),
            ("least_now", "LEAST NOW", 0),
            ("least_ratio", "RATIO", 3),
        ],
    ),
    (
        "growth_requests",
        "With requests",
        &[
            ("until", "UNTIL", 0),
            ("requests", "REQUESTS", 0),
            ("bpf_ns_per_request", "NS PER REQUEST", 0),
        ],
    ),
    (
        "growth_vms",
        "With VMs, in the emulator",
        &[
            ("vms", "VMS", 0),
            ("requests", "REQUESTS", 0),
            ("bpf_ns_per_request", "NS PER REQUEST", 0),
            ("empty_ns_per_request", "EMPTY PROGRAMS", 0),
            ("emulated_scrape_ms", "SCRAPE MS", 1),
            ("exposition_bytes", "BYTES", 0),
            ("rss_mib", "RSS MIB", 1),
        ],
    ),
    (
        "growth_scrape",
        "A scrape, natively",
        &[
            ("vms", "VMS", 0),
            ("content", "CONTENT", 0),
            ("median_ms", "MEDIAN MS", 2),
            ("p99_ms", "P99 MS", 2),
            ("bytes", "BYTES", 0),
        ],
    ),
];

pub fn tables(rows: &[(String, Value)]) -> String {
    let mut text = String::new();
    for (key, title, columns) in TABLES {
        let rows: Vec<_> = rows.iter().filter(|(k, _)| k == key).map(|(_, row)| row).collect();
        if rows.is_empty() {
            continue;
        }
        text += &format!("\n  {title}\n");
        let mut lines: Vec<Vec<String>> =
            vec![columns.iter().map(|(_, head, _)| (*head).to_owned()).collect()];
        for row in rows {
            let cell = |(key, _, decimals): &(&str, &str, usize)| cell(&row[*key], *decimals);
            lines.push(columns.iter().map(cell).collect());
        }
        let width = |i: usize| lines.iter().map(|line| line[i].chars().count()).max();
        let widths: Vec<_> = (0..columns.len()).map(|i| width(i).unwrap_or(0)).collect();
        for line in &lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("  {cell:>width$}"));
            text += &format!("{}\n", cells.collect::<String>());
        }
    }
    text
}

fn cell(value: &Value, decimals: usize) -> String {
    match (value.as_str(), value.as_f64()) {
        (Some(text), _) => text.to_owned(),
        (_, Some(number)) => format!("{number:.decimals$}"),
        _ => "-".to_owned(),
    }
}
