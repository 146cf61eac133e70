//! # Columns of the table

/// Columns in order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Name,
    Bar,
    Share,
    Rate,
    Report,
    Key,
    Other,
    P50,
    P99,
    Denied,
    Busy,
    /// Lost VMPCKs; only if any VM has lost one.
    Lost,
}

use Column::*;

/// Their widths; the name takes the rest.
const COLUMNS: [(Column, &str, u16); 12] = [
    (Name, "VM", 0),
    (Bar, "", 6),
    (Share, "PSP", 5),
    (Rate, "REQ/S", 5),
    (Report, "REPORT", 6),
    (Key, "KEY", 5),
    (Other, "OTHER", 5),
    (P50, "P50", 7),
    (P99, "P99", 7),
    (Denied, "DENIED", 6),
    (Busy, "BUSY", 6),
    (Lost, "LOST", 4),
];

/// Columns in the order in which they are omitted.
const LEAST: [Column; 11] = [Other, Key, Report, Bar, P50, Busy, Denied, Lost, P99, Rate, Share];

/// Minimum width of a name before columns are omitted, and beside the share only.
const NAME: u16 = 12;
const SHORT_NAME: u16 = 4;
/// Extra space goes to names first, then to bars up to this width.
const LONG_BAR: u16 = 40;

/// The columns that fit, with their widths; `longest` is the longest name's.
pub fn fitting(width: u16, longest: u16, any_lost: bool) -> Vec<(Column, &'static str, u16)> {
    let mut columns = COLUMNS.to_vec();
    columns.retain(|(column, ..)| any_lost || *column != Lost);
    let left = |columns: &[(Column, &str, u16)]| {
        let others: u16 = columns.iter().map(|(.., width)| width + 1).sum();
        // No space after the last one.
        (width + 1).saturating_sub(others)
    };
    for least in LEAST {
        let enough = if least == Share { SHORT_NAME } else { NAME };
        if left(&columns) >= enough.min(width).max(1) {
            break;
        }
        columns.retain(|(column, ..)| *column != least);
    }
    let left = left(&columns);
    let name = left.min(longest.max(NAME));
    for (column, _, width) in &mut columns {
        match column {
            Name => *width = name,
            Bar => *width = (*width + left - name).min(LONG_BAR),
            _ => {}
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fill_the_width_and_never_more() {
        for width in 0..300 {
            let columns = fitting(width, 4096, true);
            let used: u16 = columns.iter().map(|(.., width)| width + 1).sum();
            assert!(used.saturating_sub(1) <= width, "{used} of {width}");
            assert!(columns.iter().any(|(column, ..)| *column == Name));
        }
        assert_eq!(fitting(80, 8, false).len(), COLUMNS.len() - 1, "they fit the usual terminal");
        let lost = fitting(80, 8, true);
        assert!(lost.iter().any(|(column, ..)| *column == Lost), "it replaces others");
        assert_eq!(fitting(10, 8, true).len(), 2, "a name and its share");
    }
}
