//! The figures that are told: medians, spread, tails, and ratios of the same round.

use serde::Serialize;

use crate::bench::measure::Times;
use crate::bench::operation::OURS;

/// One line of the results.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub operation: &'static str,
    /// Who did it.
    pub implementation: &'static str,
    /// Calls, cycles or rows of each round.
    pub rows: i32,
    /// The median of the rounds' means, for one call or row.
    pub median_ns: f64,
    /// 95 of 100 batches took no longer, for one call or row.
    pub p95_ns: f64,
    /// Measured rounds.
    pub rounds: usize,
    /// The fastest and the slowest round.
    #[serde(skip)]
    pub spread: (f64, f64),
    /// The peer's time by ours of the same round: median, lowest and highest. `None` for ours.
    #[serde(skip)]
    pub ratio: Option<(f64, f64, f64)>,
}

/// Sums the rounds of an operation up.
pub fn figures(operation: &'static str, rows: i32, times: &[Times]) -> Vec<Figure> {
    let means = |times: &Times| -> Vec<f64> { times.rounds.iter().map(|r| mean(r)).collect() };
    let ours = times.iter().find(|t| OURS.contains(&t.implementation)).map(means);
    let ours = ours.unwrap_or_default();
    let figure = |times: &Times| {
        let means = means(times);
        let ratios: Vec<f64> = means.iter().zip(&ours).map(|(peer, ours)| peer / ours).collect();
        let is_ours = OURS.contains(&times.implementation);
        Figure {
            operation,
            implementation: times.implementation,
            rows,
            median_ns: quantile(&means, 0.5),
            p95_ns: quantile(&times.rounds.concat(), 0.95),
            rounds: means.len(),
            spread: (quantile(&means, 0.0), quantile(&means, 1.0)),
            ratio: (!is_ours)
                .then(|| (quantile(&ratios, 0.5), quantile(&ratios, 0.0), quantile(&ratios, 1.0))),
        }
    };
    times.iter().map(figure).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The quantile, between neighbours in proportion.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = q * sorted.len().saturating_sub(1) as f64;
    let at = |place: f64| sorted.get(place as usize).copied().unwrap_or(0.0);
    let (low, high) = (at(place.floor()), at(place.ceil()));
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0], 0.5), 1.5);
        assert_eq!(quantile(&[5.0], 0.95), 5.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let times = [
            Times { implementation: "api", rounds: vec![vec![1.0, 3.0], vec![4.0], vec![1.0]] },
            Times { implementation: "spi", rounds: vec![vec![4.0], vec![4.0], vec![3.0]] },
        ];
        let figures = figures("get", 2, &times);
        assert_eq!((figures[0].median_ns, figures[0].ratio), (2.0, None));
        assert_eq!(figures[1].ratio, Some((2.0, 1.0, 3.0)));
        assert_eq!(figures[1].spread, (3.0, 4.0));
    }
}
