//! The bar chart: for each operation, the time of each peer as a multiple of ours.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;

use crate::bench::summary::Figure;

const WIDTH: u32 = 900;
const BAR: u32 = 18;
/// Bars end here; the label tells the rest.
const LONGEST: f64 = 20.0;

/// Draws the chart of all figures that have a peer's ratio, ours being 1.
pub fn draw(path: &Path, figures: &[Figure]) -> Result<()> {
    if figures.is_empty() {
        return Ok(());
    }
    let bars = figures.len() as u32;
    let root = SVGBackend::new(path, (WIDTH, bars * BAR + 90)).into_drawing_area();
    paint(&root, figures)
        .and_then(|()| root.present().map_err(|e| anyhow!("{e}")))
        .with_context(|| format!("cannot draw {}", path.display()))
}

fn paint(
    root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    figures: &[Figure],
) -> Result<()> {
    let error = |e: DrawingAreaErrorKind<_>| anyhow!("{e}");
    root.fill(&WHITE).map_err(error)?;
    let rows = figures.len() as f64;
    let most = figures.iter().filter_map(|f| f.ratio).fold(1.5_f64, |most, r| most.max(r.0));
    let longest = most.min(LONGEST);
    let mut chart = ChartBuilder::on(root)
        .caption("Time per call or row, ours = 1", ("sans-serif", 18))
        .margin(10)
        .set_label_area_size(LabelAreaPosition::Left, 190)
        .set_label_area_size(LabelAreaPosition::Bottom, 30)
        .build_cartesian_2d(0.0..longest * 1.15, rows..0.0)
        .map_err(error)?;
    let name = |y: &f64| {
        let figure = figures.get(*y as usize);
        figure.map_or_else(String::new, |f| format!("{} {}", f.operation, f.implementation))
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .y_labels(0)
        .light_line_style(TRANSPARENT)
        .x_desc("multiple of our time")
        .draw()
        .map_err(error)?;
    let text = ("sans-serif", 12).into_font();
    for (index, figure) in figures.iter().enumerate() {
        let top = index as f64;
        let value = figure.ratio.map_or(1.0, |ratio| ratio.0);
        let color = color(figure.implementation);
        let bar =
            Rectangle::new([(0.0, top + 0.15), (value.min(longest), top + 0.85)], color.filled());
        let told = format!("{value:.2} x, {:.2} µs", figure.median_ns / 1000.0);
        let label = Text::new(told, (value.min(longest) + longest * 0.01, top + 0.2), text.clone());
        chart.draw_series([bar]).map_err(error)?;
        chart.draw_series([label]).map_err(error)?;
        let (x, y) = chart.backend_coord(&(0.0, top + 0.2));
        let style = text.clone().into_text_style(root);
        root.draw_text(&name(&top), &style, (x - 185, y)).map_err(error)?;
    }
    Ok(())
}

fn color(implementation: &str) -> RGBColor {
    match implementation {
        "api" | "caliber_am" => RGBColor(31, 119, 180),
        "executor" | "heap" => RGBColor(140, 140, 140),
        "plpgsql" | "heap_trigger" => RGBColor(230, 150, 60),
        _ => RGBColor(190, 70, 70),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_names_its_bars() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("chart.svg");
        let figure = |implementation, ratio| Figure {
            operation: "get",
            implementation,
            rows: 10,
            median_ns: 1500.0,
            p95_ns: 2000.0,
            rounds: 3,
            spread: (1000.0, 2000.0),
            ratio,
        };
        draw(&path, &[figure("api", None), figure("spi", Some((50.0, 40.0, 60.0)))])?;
        let svg = std::fs::read_to_string(&path)?;
        assert!(svg.contains("get api") && svg.contains("50.00 x"), "{svg}");
        Ok(())
    }
}
