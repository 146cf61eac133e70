//! # The table's columns, and which of them fit

/// What stands in a column, in the order in which they stand.
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
}

use Column::*;

/// Their widths; a name takes what is left.
const COLUMNS: [(Column, &str, u16); 11] = [
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
];

/// What is left out first where there is no room.
const LEAST: [Column; 10] = [Other, Key, Report, Bar, P50, Busy, Denied, P99, Rate, Share];

/// A name shows at least so much of itself before columns are left out; or, next to nothing but
/// its share, so much.
const NAME: u16 = 12;
const SHORT_NAME: u16 = 4;
/// Where there is room for more, names come first, then bars, up to this.
const LONG_BAR: u16 = 40;

/// The columns that fit, with their widths, beside names of that length.
pub fn fitting(width: u16, longest: u16) -> Vec<(Column, &'static str, u16)> {
    let mut columns = COLUMNS.to_vec();
    let left = |columns: &[(Column, &str, u16)]| {
        let others: u16 = columns.iter().map(|(.., width)| width + 1).sum();
        // The last one needs no space behind it.
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
            let columns = fitting(width, 4096);
            let used: u16 = columns.iter().map(|(.., width)| width + 1).sum();
            assert!(used.saturating_sub(1) <= width, "{used} of {width}");
            assert!(columns.iter().any(|(column, ..)| *column == Name));
        }
        assert_eq!(fitting(80, 8).len(), COLUMNS.len(), "all fit the usual terminal");
        assert_eq!(fitting(10, 8).len(), 2, "a name and its share");
    }
}
