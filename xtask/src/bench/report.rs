//! What a run leaves: a table on the terminal, and files in target/bench.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::bench::goal;
use crate::bench::summary::Figure;
use crate::show;

/// Prints the table.
pub fn print(figures: &[Figure]) {
    let rows: Vec<Vec<String>> = figures
        .iter()
        .map(|figure| {
            let (low, high) = figure.spread;
            let (ratio, spread) =
                figure.ratio.map_or_else(Default::default, |(ratio, low, high)| {
                    (format!("{ratio:.2} x"), format!("{low:.2} to {high:.2}"))
                });
            let wanted = goal::verdict(figure)
                .map_or_else(String::new, |(goal, verdict)| format!("{goal:.2} x, {verdict}"));
            vec![
                figure.operation.to_owned(),
                figure.implementation.to_owned(),
                microseconds(figure.median_ns),
                format!("{} to {}", microseconds(low), microseconds(high)),
                microseconds(figure.p95_ns),
                ratio,
                spread,
                wanted,
            ]
        })
        .collect();
    let heads = [
        "operation",
        "implementation",
        "#µs",
        "#spread",
        "#p95",
        "#to ours",
        "#of the rounds",
        "at least wanted",
    ];
    show::table(&heads, &rows);
}

fn microseconds(nanoseconds: f64) -> String {
    let us = nanoseconds / 1000.0;
    if us < 10.0 { format!("{us:.3}") } else { format!("{us:.1}") }
}

/// Writes the JSON: an array with an object for each figure.
pub fn write_json(path: &Path, figures: &[Figure]) -> Result<()> {
    write(path, &format!("{}\n", serde_json::to_string_pretty(figures)?))
}

/// Writes the same as CSV, with spread and ratio.
pub fn write_csv(path: &Path, figures: &[Figure]) -> Result<()> {
    let mut text = String::from(
        "operation,implementation,rows,median_ns,p95_ns,rounds,min_ns,max_ns,ratio,ratio_min,ratio_max\n",
    );
    for f in figures {
        let ratio = f.ratio.map_or_else(
            || ",,".to_owned(),
            |(ratio, low, high)| format!("{ratio:.3},{low:.3},{high:.3}"),
        );
        text.push_str(&format!(
            "{},{},{},{:.1},{:.1},{},{:.1},{:.1},{ratio}\n",
            f.operation,
            f.implementation,
            f.rows,
            f.median_ns,
            f.p95_ns,
            f.rounds,
            f.spread.0,
            f.spread.1
        ));
    }
    write(path, &text)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_csv_say_the_same() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let figure = Figure {
            operation: "get",
            implementation: "spi",
            rows: 10,
            median_ns: 1500.0,
            p95_ns: 2000.0,
            rounds: 3,
            spread: (1000.0, 2000.0),
            ratio: Some((2.0, 1.5, 2.5)),
        };
        let (json, csv) = (dir.path().join("r.json"), dir.path().join("r.csv"));
        write_json(&json, std::slice::from_ref(&figure))?;
        write_csv(&csv, &[figure])?;
        let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(json)?)?;
        let expected = serde_json::json!([{
            "operation": "get", "implementation": "spi", "rows": 10,
            "median_ns": 1500.0, "p95_ns": 2000.0, "rounds": 3
        }]);
        assert_eq!(json, expected);
        let csv = fs::read_to_string(csv)?;
        assert!(csv.ends_with("\nget,spi,10,1500.0,2000.0,3,1000.0,2000.0,2.000,1.500,2.500\n"));
        Ok(())
    }
}
