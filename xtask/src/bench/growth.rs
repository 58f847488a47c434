//! How the cost of a call grows with the table: the same operations on servers of several sizes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;

use crate::bench::operation::Operation;
use crate::bench::options::{Peers, Size};
use crate::bench::{calls, cycles, measure, server, summary};
use crate::extension::Profile;
use crate::progress::{self, Step};
use crate::workspace::Workspace;

const OPERATIONS: [&Operation; 4] = [&calls::GET, &calls::APPEND, &calls::LIST, &cycles::MESSAGE];

/// Who is shown beside ours: the executor, or PL/pgSQL where there is no set-based statement.
const PEERS: [&str; 3] = ["api", "executor", "plpgsql"];

/// The time of a call at one size.
#[derive(Clone, Debug)]
pub struct Point {
    /// What was measured.
    pub operation: &'static str,
    /// Who did it.
    pub implementation: &'static str,
    /// Turns in the table.
    pub rows: i32,
    /// The median of the rounds, for one call.
    pub median_ns: f64,
}

/// Measures at each size, on a server of its own.
pub fn measure(workspace: &Workspace, profile: Profile, size: Size) -> Result<Vec<Point>> {
    let peers = Peers::only(&PEERS);
    let mut points = Vec::new();
    for &rows in size.growth {
        // What nobody looks at here need not grow as much.
        let size = Size { rows, others: rows / 10 + 2000, rounds: size.rounds.min(3), ..size };
        let cluster = server::start(workspace, profile, size, &OPERATIONS)?;
        for operation in OPERATIONS {
            let step = Step::begin(format!("Measuring {} at {rows} rows", operation.name));
            let times = measure::measure(&cluster, operation, size, &peers)?;
            let figures = summary::figures(operation.name, 0, &times);
            step.done();
            for figure in figures {
                let (operation, implementation) = (figure.operation, figure.implementation);
                let median_ns = figure.median_ns;
                progress::say(format_args!("{implementation}: {:.2} µs", median_ns / 1000.0));
                points.push(Point { operation, implementation, rows, median_ns });
            }
        }
    }
    Ok(points)
}

/// Writes the points as CSV.
pub fn write_csv(path: &Path, points: &[Point]) -> Result<()> {
    let mut text = String::from("operation,implementation,rows,median_ns\n");
    for p in points {
        let line = format!("{},{},{},{:.1}\n", p.operation, p.implementation, p.rows, p.median_ns);
        text.push_str(&line);
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

const SIZE: (u32, u32) = (900, 560);

/// The width of the part that names the lines, and the height of each name.
const NAMES: (u32, i32) = (190, 20);

/// Draws one line for each operation and peer, over the rows, both axes logarithmic.
pub fn draw(path: &Path, points: &[Point]) -> Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    paint(&root, points)
        .and_then(|()| root.present().map_err(|e| anyhow!("{e}")))
        .with_context(|| format!("cannot draw {}", path.display()))
}

fn paint(
    root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    points: &[Point],
) -> Result<()> {
    let error = |e: DrawingAreaErrorKind<_>| anyhow!("{e}");
    root.fill(&WHITE).map_err(error)?;
    let (lines, names) = root.split_horizontally(SIZE.0 - NAMES.0);
    let rows = || points.iter().map(|p| f64::from(p.rows));
    let times = || points.iter().map(|p| p.median_ns / 1000.0);
    let (least, most) = (rows().fold(f64::MAX, f64::min), rows().fold(2.0, f64::max));
    let (fastest, slowest) = (times().fold(f64::MAX, f64::min), times().fold(1.0, f64::max));
    let mut chart = ChartBuilder::on(&lines)
        .caption("Time per call as the tables grow", ("sans-serif", 18))
        .margin(10)
        .set_label_area_size(LabelAreaPosition::Left, 60)
        .set_label_area_size(LabelAreaPosition::Bottom, 40)
        .build_cartesian_2d(
            (least.min(most / 2.0) * 0.9..most * 1.1).log_scale(),
            (fastest * 0.7..slowest * 1.5).log_scale(),
        )
        .map_err(error)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("turns in the table")
        .x_label_formatter(&|rows| format!("{rows:.0}"))
        .y_label_formatter(&|time| format!("{time}"))
        .y_desc("µs per call")
        .draw()
        .map_err(error)?;
    let mut named = 0;
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        for implementation in PEERS {
            let line: Vec<(f64, f64)> = points
                .iter()
                .filter(|p| (p.operation, p.implementation) == (operation.name, implementation))
                .map(|p| (f64::from(p.rows), p.median_ns / 1000.0))
                .collect();
            if line.is_empty() {
                continue;
            }
            let width = if implementation == "api" { 3 } else { 1 };
            let style = match implementation {
                "plpgsql" => color.mix(0.5).stroke_width(width),
                _ => color.stroke_width(width),
            };
            let name = format!("{} {implementation}", operation.name);
            chart.draw_series(LineSeries::new(line, style).point_size(width + 1)).map_err(error)?;
            let y = 60 + named * NAMES.1;
            named += 1;
            names.draw(&PathElement::new([(0, y), (18, y)], style)).map_err(error)?;
            names
                .draw(&Text::new(name, (26, y - 6), ("sans-serif", 13).into_font()))
                .map_err(error)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growth_chart_names_its_lines() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("growth.svg");
        let point =
            |rows, median_ns| Point { operation: "get", implementation: "api", rows, median_ns };
        draw(&path, &[point(10_000, 2000.0), point(1_000_000, 4000.0)])?;
        let svg = fs::read_to_string(&path)?;
        assert!(svg.contains("get api") && svg.contains("turns in the table"), "{svg}");
        Ok(())
    }
}
