//! What a run leaves: a table on the terminal, and files in target/bench.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::bench::options::Size;
use crate::bench::summary::Figure;
use crate::bench::{Results, clients, goal, growth, instructions, memory, space, summary};
use crate::show;

/// A table of the report.
struct Table {
    title: &'static str,
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// Prints the tables.
pub fn print(results: &Results) {
    for table in tables(results) {
        show::heading(table.title);
        show::table(&table.heads, &table.rows);
    }
}

/// Writes the tables as Markdown.
pub fn write_markdown(path: &Path, results: &Results) -> Result<()> {
    let mut text = String::new();
    for table in tables(results) {
        let heads: Vec<_> = table.heads.iter().map(|head| head.trim_start_matches('#')).collect();
        let rules = table.heads.iter().map(|h| if h.starts_with('#') { "---:" } else { "---" });
        text.push_str(&format!("### {}\n\n| {} |\n", table.title, heads.join(" | ")));
        text.push_str(&format!("| {} |\n", rules.collect::<Vec<_>>().join(" | ")));
        for row in table.rows {
            text.push_str(&format!("| {} |\n", row.join(" | ")));
        }
        text.push('\n');
    }
    write(path, &text)
}

/// The tables that have rows.
fn tables(results: &Results) -> Vec<Table> {
    let all = [
        calls(&results.calls),
        instructions(&results.instructions),
        clients(&results.clients),
        memory(&results.memory),
        space(&results.space),
        growth(&results.growth),
    ];
    all.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

fn calls(figures: &[Figure]) -> Table {
    let row = |figure: &Figure| {
        let (low, high) = figure.spread;
        let (ratio, spread) = figure.ratio.map_or_else(Default::default, |(ratio, low, high)| {
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
    };
    Table {
        title: "Calls and storage",
        heads: vec![
            "operation",
            "implementation",
            "#µs",
            "#spread",
            "#p95",
            "#to ours",
            "#of the rounds",
            "at least wanted",
        ],
        rows: figures.iter().map(row).collect(),
    }
}

fn instructions(figures: &[instructions::Figure]) -> Table {
    let row = |figure: &instructions::Figure| {
        let number = |number: f64| format!("{number:.0}");
        let ratio = |ratio: Option<f64>| ratio.map_or_else(String::new, |r| format!("{r:.2} x"));
        let mut row = vec![
            figure.operation.to_owned(),
            figure.implementation.to_owned(),
            number(figure.instructions),
            ratio(figure.ratio),
            ratio(figure.wanted),
        ];
        row.extend(figure.groups.map(number));
        row.push(number(figure.instructions - figure.groups.iter().sum::<f64>()));
        row
    };
    let mut heads =
        vec!["operation", "implementation", "#instructions", "#to ours", "#wanted of the time"];
    heads.extend(instructions::GROUPS.map(|(head, _)| head));
    heads.push("#the rest");
    Table { title: "Instructions", heads, rows: figures.iter().map(row).collect() }
}

fn clients(figures: &[clients::Figure]) -> Table {
    let row = |figure: &clients::Figure| {
        let quantile = |q| summary::quantile(&figure.tps, q);
        vec![
            figure.operation.to_owned(),
            figure.implementation.to_owned(),
            figure.connections.to_string(),
            if figure.durable { "on" } else { "off" }.to_owned(),
            format!("{:.0}", figure.median_tps()),
            format!("{:.0} to {:.0}", quantile(0.0), quantile(1.0)),
            format!("{:.2}", figure.p95_ns / 1e6),
            figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2} x")),
        ]
    };
    Table {
        title: "Clients",
        heads: vec![
            "operation",
            "implementation",
            "#connections",
            "durable",
            "#a second",
            "#spread",
            "#p95, ms",
            "#ours to it",
        ],
        rows: figures.iter().map(row).collect(),
    }
}

fn memory(figures: &[memory::Figure]) -> Table {
    let row = |figure: &memory::Figure| {
        let ((few, before), (many, after)) = (figure.few, figure.many);
        vec![
            figure.work.to_owned(),
            figure.how.to_owned(),
            format!("{before} kB after {few}"),
            format!("{after} kB after {many}"),
            format!("{} kB", after - before),
        ]
    };
    Table {
        title: "Memory of a backend",
        heads: vec!["calls", "in", "#has", "#has then", "#growth"],
        rows: figures.iter().map(row).collect(),
    }
}

fn space(figures: &[space::Figure]) -> Table {
    let row = |figure: &space::Figure| {
        let [ours, heap] = figure.values;
        let told =
            |value: f64| if value > 1.0 { format!("{value:.0}") } else { format!("{value:.3}") };
        let ratio = ours / heap;
        vec![figure.what.to_owned(), told(ours), told(heap), format!("{ratio:.3}")]
    };
    Table {
        title: "Space",
        heads: vec!["measure", "#caliber_am", "#heap", "#ratio"],
        rows: figures.iter().map(row).collect(),
    }
}

fn growth(points: &[growth::Point]) -> Table {
    let row = |point: &growth::Point| {
        vec![
            point.operation.to_owned(),
            point.implementation.to_owned(),
            point.rows.to_string(),
            microseconds(point.median_ns),
        ]
    };
    Table {
        title: "Growth",
        heads: vec!["operation", "implementation", "#rows", "#µs"],
        rows: points.iter().map(row).collect(),
    }
}

fn microseconds(nanoseconds: f64) -> String {
    let us = nanoseconds / 1000.0;
    if us < 10.0 { format!("{us:.3}") } else { format!("{us:.1}") }
}

/// Writes the JSON: an array with an object for each figure. Those of clients tell the time for a
/// transaction of all connections together, and the connections and the way to commit, too.
pub fn write_json(path: &Path, size: Size, results: &Results) -> Result<()> {
    let mut figures = serde_json::to_value(&results.calls)?;
    let instructions = results.instructions.iter().map(serde_json::to_value);
    let clients = results.clients.iter().map(|figure| {
        serde_json::json!({
            "operation": figure.operation,
            "implementation": figure.implementation,
            "rows": size.rows,
            "median_ns": 1e9 / figure.median_tps(),
            "p95_ns": figure.p95_ns,
            "rounds": figure.tps.len(),
            "connections": figure.connections,
            "durable": figure.durable,
        })
    });
    if let Some(all) = figures.as_array_mut() {
        all.extend(clients);
        all.extend(instructions.collect::<Result<Vec<_>, _>>()?);
    }
    write(path, &format!("{}\n", serde_json::to_string_pretty(&figures)?))
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
    use crate::bench::Options;

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
        let size = Options { rows: Some(7), ..Options::default() }.size()?;
        let client = clients::Figure {
            operation: "client_append",
            implementation: clients::OURS,
            connections: 8,
            durable: true,
            tps: vec![1000.0],
            p95_ns: 3000.0,
            ratio: None,
        };
        let results =
            Results { calls: vec![figure.clone()], clients: vec![client], ..Results::default() };
        write_json(&json, size, &results)?;
        write_csv(&csv, &[figure])?;
        let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(json)?)?;
        let expected = serde_json::json!([{
            "operation": "get", "implementation": "spi", "rows": 10,
            "median_ns": 1500.0, "p95_ns": 2000.0, "rounds": 3
        }, {
            "operation": "client_append", "implementation": "client_api", "rows": 7,
            "median_ns": 1_000_000.0, "p95_ns": 3000.0, "rounds": 1,
            "connections": 8, "durable": true
        }]);
        assert_eq!(json, expected);
        let csv = fs::read_to_string(csv)?;
        assert!(csv.ends_with("\nget,spi,10,1500.0,2000.0,3,1000.0,2000.0,2.000,1.500,2.500\n"));
        Ok(())
    }
}
