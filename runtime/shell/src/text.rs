//! Text for people: aligned tables, short amounts, ages, sizes.

use std::io::{self, Write};

use agora_types::Amount;

use crate::output::Style;

/// Writes a table: a heading, then rows, in columns as wide as their widest cell. Cells that are amounts or numbers
/// are the caller's to format; control characters in a cell are shown as `?`, since names may come from strangers.
///
/// # Errors
/// What `out` says.
pub fn table<const COLUMNS: usize>(
    out: &mut dyn Write,
    style: &Style,
    heading: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> io::Result<()> {
    let rows: Vec<[String; COLUMNS]> = rows.iter().map(|row| row.each_ref().map(|cell| plain(cell))).collect();
    let mut widths = heading.map(|cell| cell.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; COLUMNS]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    writeln!(out, "{}", style.bold(&line(&heading.map(str::to_owned))))?;
    rows.iter().try_for_each(|row| writeln!(out, "{}", line(row)))
}

/// The text without control characters, which could rewrite a terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// An amount as people read it: at most six digits of a fraction that count, `~` where it was rounded, and atoms where
/// OPEN would be mostly zeros.
pub fn amount(amount: Amount) -> String {
    const OPEN: u128 = 1_000_000_000_000_000_000;
    const BILLION: u128 = 1_000_000_000;
    let atoms = amount.atoms();
    if atoms == 0 {
        return "0 OPEN".to_owned();
    }
    if atoms < BILLION {
        return format!("{atoms} {}", if atoms == 1 { "atom" } else { "atoms" });
    }
    // The first digit behind the point that counts: of the whole amount when that is below one.
    let first = if atoms >= OPEN { 1 } else { 18 - atoms.ilog10() };
    let dropped = 18u32.saturating_sub(first + 5);
    let unit = 10u128.pow(dropped);
    // Rounds half up; a sum near the top of the type is rounded down instead.
    let rounded = atoms.saturating_add(unit / 2) / unit * unit;
    let mark = if rounded == atoms { "" } else { "~" };
    format!("{mark}{} OPEN", Amount::from_atoms(rounded))
}

/// How long ago, in the largest two units that matter: `3 s`, `4 min`, `2 h 10 min`, `5 d`.
pub fn age(millis: u64) -> String {
    let seconds = millis / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0 => "now".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min"),
        3_600..86_400 if minutes % 60 == 0 => format!("{hours} h"),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d"),
    }
}

/// A size in binary units: `98 B`, `93.8 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(count) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    let name = UNITS[unit];
    if unit == 0 { format!("{count} {name}") } else { format!("{}.{} {name}", tenths / 10, tenths % 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short_and_say_when_they_are_rounded() {
        let short = |text: &str| amount(text.parse().unwrap());
        assert_eq!(short("0"), "0 OPEN");
        assert_eq!(short("0.00042"), "0.00042 OPEN");
        assert_eq!(short("12.5"), "12.5 OPEN");
        assert_eq!(short("1000000000"), "1000000000 OPEN");
        assert_eq!(short("0.000421337133713371"), "~0.000421337 OPEN");
        assert_eq!(short("12.3456789"), "~12.345679 OPEN");
        assert_eq!(short("0.999999999"), "~1 OPEN");
        assert_eq!(short("0.000000000000000001"), "1 atom");
        assert_eq!(short("0.000000000999999999"), "999999999 atoms");
        assert_eq!(short("0.000000001"), "0.000000001 OPEN");
        assert!(amount(Amount::from_atoms(u128::MAX)).ends_with(" OPEN"));
    }

    #[test]
    fn ages_and_sizes_are_short() {
        for (millis, text) in [
            (999, "now"),
            (1_000, "1 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (7_800_000, "2 h 10 min"),
            (7_200_000, "2 h"),
            (86_400_000, "1 d"),
        ] {
            assert_eq!(age(millis), text);
        }
        for (count, text) in [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (98_362_432, "93.8 MiB")] {
            assert_eq!(bytes(count), text);
        }
        assert!(bytes(u64::MAX).ends_with("TiB"));
    }

    #[test]
    fn a_table_is_aligned_and_a_name_cannot_move_the_cursor() {
        let mut out = Vec::new();
        let rows = [["a".to_owned(), "1".to_owned()], ["\x1b[2Jlonger".to_owned(), "2".to_owned()]];
        table(&mut out, &Style::default(), ["NAME", "N"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME        N\na           1\n?[2Jlonger  2\n");
    }
}
