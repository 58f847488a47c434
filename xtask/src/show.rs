//! How results are laid out on standard output.

use std::io::{IsTerminal, stdout};

use comfy_table::{Cell, CellAlignment, ContentLineStyle, LineStyle, Table, TableStyle};
use postgres::error::DbError;

/// As psql draws it, with lines that meet.
const STYLE: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none().junction('│'))
    .header_separator(LineStyle::none().fill('─').junction('┼'))
    .content_lines(ContentLineStyle::none().junction('│'));

/// A heading.
pub fn heading(text: &str) {
    if stdout().is_terminal() {
        println!("\n\x1b[1m{text}\x1b[0m");
    } else {
        println!("\n{text}\n{}", "=".repeat(text.chars().count()));
    }
}

/// A statement, to be pasted into psql.
pub fn sql(text: &str) {
    println!("\n{}\n", indented(&format!("{text};")));
}

/// Rows under names. A column whose name begins with `#` holds numbers.
pub fn table(names: &[&str], rows: &[Vec<String>]) {
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(names.iter().map(|name| name.trim_start_matches('#')));
    for row in rows {
        table.add_row(row.iter().zip(names).map(|(text, name)| {
            let number = name.starts_with('#');
            let side = if number { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(side)
        }));
    }
    println!("{}", indented(&table.trim_fmt()));
}

/// A plan, or other text of the server.
pub fn text(text: &str) {
    println!("{}", indented(text));
}

/// The server's error with all that a client is told.
pub fn refusal(error: &DbError) {
    let mut lines = format!("{} {}: {}", error.severity(), error.code().code(), error.message());
    for (name, text) in [("DETAIL", error.detail()), ("HINT", error.hint())] {
        if let Some(text) = text {
            lines.push_str(&format!("\n{name}: {text}"));
        }
    }
    text(&lines);
}

/// The beginning of the text in one line of at most `width` characters.
pub fn clipped(text: &str, width: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= width {
        return line;
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_clipped() {
        assert_eq!(clipped("two\n  words", 20), "two words");
        assert_eq!(clipped("some more words", 10), "some more…");
        assert_eq!(clipped("größer", 6), "größer");
        assert_eq!(clipped("größeres", 6), "größe…");
        assert_eq!(clipped("", 6), "");
    }
}
