//! # Values as text of bounded width

use unicode_width::UnicodeWidthChar as _;

/// Removes what does not take one or two cells: controls, direction marks, combining characters.
pub fn clean(text: &str) -> String {
    let visible = |c: char| match c {
        c if c.is_control() => Some('_'),
        // Line and paragraph separators.
        '\u{2028}' | '\u{2029}' => Some('_'),
        c => c.width().is_some_and(|width| width > 0).then_some(c),
    };
    text.chars().filter_map(visible).collect()
}

/// Cleaned and truncated to `cells`, with `…` if shortened.
pub fn fit(text: &str, cells: usize) -> String {
    let clean = clean(text);
    let width = |c: char| c.width().unwrap_or(0);
    if clean.chars().map(width).sum::<usize>() <= cells {
        return clean;
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += width(*c);
        used < cells
    };
    let mut cut: String = clean.chars().take_while(fits).collect();
    if cells > 0 {
        cut.push('…');
    }
    cut
}

/// A share of 0 to 1, in five cells.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent < 9.95 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

/// A number per second, in five cells.
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate <= 0.0 => "0".to_owned(),
        rate if rate < 0.095 => format!("{rate:.2}"),
        rate if rate < 999.95 => format!("{rate:.1}"),
        rate => count(rate.round() as u64),
    }
}

/// A number, in four cells.
pub fn count(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{}k", number / 1_000),
        1_000_000..1_000_000_000 => format!("{}M", number / 1_000_000),
        _ => format!("{}G", number / 1_000_000_000),
    }
}

/// A bar of up to `cells` cells, in eighths of a cell.
pub fn bar(share: f64, cells: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * cells as f64 * 8.0).round() as usize;
    // Visible even if small.
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(clean("a\x1b[2Jb\r\n\u{9b}c\0"), "a_[2Jb___c_");
        assert_eq!(clean("a\u{202e}b\u{200b}\u{2028}\u{feff}"), "ab_");
        assert_eq!(clean(&format!("e{}", "\u{301}".repeat(5000))), "e");
    }

    #[test]
    fn long_text_is_truncated_with_an_ellipsis() {
        assert_eq!(fit("web-1", 5), "web-1");
        assert_eq!(fit("web-10", 5), "web-…");
        // Two cells each; no halves.
        assert_eq!(fit("机密虚拟机", 6), "机密…");
        assert_eq!((fit("web", 1), fit("web", 0)), ("…".to_owned(), String::new()));
    }

    #[test]
    fn numbers_fit_their_columns() {
        for (share, text) in [(0.0, "0.0 %"), (0.0994, "9.9 %"), (0.0996, "10 %"), (1.0, "100 %")] {
            assert_eq!(percent(share), text);
        }
        for (per_second, text) in
            [(0.0, "0"), (0.05, "0.05"), (4.66, "4.7"), (123.44, "123.4"), (12_345.0, "12k")]
        {
            assert_eq!(rate(per_second), text);
        }
        for number in [0, 9_999, 10_000, 999_999, 1_000_000, 999_999_999, 1_000_000_000] {
            assert!(count(number).len() <= 4, "{}", count(number));
        }
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!((bar(0.0, 4), bar(0.001, 4)), (String::new(), "▏".to_owned()));
        assert_eq!((bar(0.5, 4), bar(1.0, 4)), ("██".to_owned(), "████".to_owned()));
        assert_eq!((bar(0.56, 2), bar(7.0, 2)), ("█▏".to_owned(), "██".to_owned()));
    }
}
