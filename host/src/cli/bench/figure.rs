//! One figure: a value beside its baseline, how noisy both were, and whether the bar holds.
//!
//! Two arms are measured in turns, so that what else the machine does meets both; medians count. Where the noise is larger
//! than the distance to the bar more rounds are run, up to a bound; then the verdict is said to be uncertain.

use serde_json::{Value as Json, json};

use crate::cli::outcome::{Failure, aside};

/// Fewer rounds tell nothing of the noise.
pub(super) const ROUNDS_MIN: usize = 3;

/// What a figure must reach.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

impl Bar {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    /// How far the value is from the bar, on either side, as a ratio. Shape: at least 1.
    fn margin(self, value: f64) -> f64 {
        let (Self::AtMost(bar) | Self::AtLeast(bar)) = self;
        (value / bar).max(bar / value)
    }

    fn words(self) -> String {
        match self {
            Self::AtMost(most) => format!("<= {most}"),
            Self::AtLeast(least) => format!(">= {least}"),
        }
    }
}

/// See the module.
pub(super) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    baseline: f64,
    noise: f64,
    bar: String,
    holds: bool,
}

impl Figure {
    /// The ratio to the baseline has a bar: it decides the exit code.
    pub(super) fn ratio(name: &str, value: f64, baseline: f64, unit: &'static str, noise: f64, bar: Bar) -> Self {
        let holds = bar.holds(value / baseline);
        Self { name: name.to_owned(), value, unit, baseline, noise, bar: format!("{RATIO}{}", bar.words()), holds }
    }

    /// The value itself has a bar, good for a machine like the plan's: it is told, and decides nothing.
    pub(super) fn absolute(name: &str, value: f64, baseline: f64, unit: &'static str, noise: f64, bar: Bar) -> Self {
        let holds = bar.holds(value);
        Self { name: name.to_owned(), value, unit, baseline, noise, bar: format!("{} {unit}", bar.words()), holds }
    }

    pub(super) fn json(&self) -> Json {
        let round = |number: f64| (number * 1000.0).round() / 1000.0;
        let ratio = round(self.value / self.baseline);
        json!({ "name": self.name, "value": round(self.value), "unit": self.unit, "baseline": round(self.baseline), "ratio": ratio, "noise": round(self.noise), "bar": self.bar, "holds": self.holds })
    }
}

/// How the bar of a ratio begins.
const RATIO: &str = "ratio ";

/// Says whether this figure, as printed, is a ratio that does not hold.
pub(super) fn decides_against(figure: &Json) -> bool {
    let is_ratio = figure.pointer("/bar").and_then(Json::as_str).is_some_and(|bar| bar.starts_with(RATIO));
    is_ratio && figure.pointer("/holds") == Some(&Json::Bool(false))
}

/// What was measured of both arms.
#[derive(Debug, Clone, Default)]
pub(super) struct Arms {
    pub(super) ours: Vec<f64>,
    pub(super) baseline: Vec<f64>,
}

impl Arms {
    /// The ratio of the medians, as a figure.
    pub(super) fn figure(&self, name: &str, unit: &'static str, bar: Bar) -> Figure {
        Figure::ratio(name, median(&self.ours), median(&self.baseline), unit, self.noise(), bar)
    }

    pub(super) fn add(&mut self, ours: f64, baseline: f64) {
        self.ours.push(ours);
        self.baseline.push(baseline);
    }

    /// The median of the ratios of values taken beside each other, as a figure: what slows the machine for a while slows both. Its baseline is
    /// the one that belongs to that ratio.
    pub(super) fn paired(&self, name: &str, unit: &'static str, noise: f64, bar: Bar) -> Figure {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.baseline).map(|(ours, baseline)| ours / baseline).collect();
        let ours = median(&self.ours);
        Figure::ratio(name, ours, ours / median(&ratios), unit, noise, bar)
    }

    /// How far apart runs of the same thing were, as a ratio; the noisier arm counts.
    pub(super) fn noise(&self) -> f64 {
        spread(&self.ours).max(spread(&self.baseline))
    }

    fn is_uncertain(&self, bar: Bar) -> bool {
        self.noise() > bar.margin(median(&self.ours) / median(&self.baseline))
    }
}

/// Measures two arms in turns, the order changing from round to round.
pub(super) async fn in_turns(
    name: &str,
    bar: Bar,
    rounds_max: usize,
    mut ours: impl AsyncFnMut() -> Result<f64, Failure>,
    mut baseline: impl AsyncFnMut() -> Result<f64, Failure>,
) -> Result<Arms, Failure> {
    let mut arms = Arms::default();
    while arms.ours.len() < ROUNDS_MIN || (arms.ours.len() < rounds_max && arms.is_uncertain(bar)) {
        let n = arms.ours.len();
        if n.is_multiple_of(2) {
            arms.baseline.push(baseline().await?);
            arms.ours.push(ours().await?);
        } else {
            arms.ours.push(ours().await?);
            arms.baseline.push(baseline().await?);
        }
        if let (Some(ours), Some(baseline)) = (arms.ours.last(), arms.baseline.last()) {
            aside(format_args!("{name}: round {}: {ours:.3} against {baseline:.3}", n + 1));
        }
    }
    if arms.is_uncertain(bar) {
        aside(format_args!("{name}: the noise ({:.2}) is larger than the distance to the bar; measure on a quiet machine", arms.noise()));
    }
    Ok(arms)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The middle one; of an even number the lower of the two.
pub(super) fn median(values: &[f64]) -> f64 {
    sorted(values).get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// The upper quartile by the lower; of three values, largest by smallest.
pub(super) fn spread(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let cut = sorted.len().saturating_sub(1) / 4;
    match (sorted.get(cut), sorted.iter().rev().nth(cut)) {
        (Some(low), Some(high)) => high / low,
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_ratio_that_does_not_hold_decides() {
        let slow = Figure::absolute("rate", 10.0, 20.0, "1/s", 1.0, Bar::AtLeast(15.0)).json();
        let fast = Figure::ratio("rate", 15.0, 20.0, "1/s", 1.0, Bar::AtLeast(0.75)).json();
        let bad = Figure::ratio("cost", 24.0, 10.0, "ns", 1.0, Bar::AtMost(2.3)).json();

        assert_eq!((slow["holds"].as_bool(), decides_against(&slow)), (Some(false), false));
        assert_eq!((fast["holds"].as_bool(), decides_against(&fast)), (Some(true), false));
        assert_eq!((bad["holds"].as_bool(), decides_against(&bad)), (Some(false), true));
    }

    #[test]
    fn one_disturbed_round_of_five_moves_neither_median_nor_noise() {
        let rounds = [10.0, 11.0, 90.0, 10.0, 10.0];
        assert!(median(&rounds) < 10.1);
        assert!(spread(&rounds) < 1.2);
        assert!(spread(&[10.0, 11.0, 90.0]) > 8.9);
    }

    #[test]
    fn a_machine_that_slows_down_moves_no_ratio_of_pairs() {
        let mut pairs = Arms::default();
        for (ours, baseline) in [(90.0, 100.0), (45.0, 50.0), (9.0, 10.0)] {
            pairs.add(ours, baseline);
        }
        let figure = pairs.paired("rate", "1/s", 10.0, Bar::AtLeast(0.89)).json();
        assert_eq!((figure["ratio"].as_f64(), figure["holds"].as_bool(), figure["value"].as_f64()), (Some(0.9), Some(true), Some(45.0)));
    }

    #[tokio::test]
    async fn rounds_are_added_only_while_the_noise_hides_the_verdict() {
        let quiet = in_turns("quiet", Bar::AtMost(2.0), 9, async || Ok(1.0), async || Ok(1.0)).await.unwrap();
        assert_eq!(quiet.ours.len(), ROUNDS_MIN);

        let mut n = 0.0;
        let wild = async || {
            n += 1.0;
            Ok(n)
        };
        let noisy = in_turns("noisy", Bar::AtMost(2.0), 9, wild, async || Ok(2.0)).await.unwrap();
        assert_eq!(noisy.ours.len(), 9);
    }
}
