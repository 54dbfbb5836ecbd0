//! Buckets drawn together to the steps of a chart.

use crate::shell::store::Bucket;
use crate::time::Timestamp;
use crate::vital::Parameter;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Steps of one answer at most.
pub const POINTS_MAX: i64 = 5_000;

/// Columns by parameter.
#[derive(Debug)]
pub struct Series {
    from_ms: i64,
    step_ms: i64,
    points: usize,
    columns: BTreeMap<Parameter, Vec<Option<Bucket>>>,
}

impl Series {
    /// Empty; steps begin at whole multiples of their width.
    pub fn new(from: Timestamp, to: Timestamp, step_ms: i64) -> Series {
        let step_ms = step_ms.max(1);
        let from_ms = from.ms().div_euclid(step_ms) * step_ms;
        let points = (to.ms() - from_ms).max(0).div_euclid(step_ms).min(POINTS_MAX) as usize + 1;
        Series { from_ms, step_ms, points, columns: BTreeMap::new() }
    }

    /// Adds what came in the bucket that begins at `at_ms`; buckets in order.
    pub fn add(&mut self, parameter: Parameter, at_ms: i64, bucket: Bucket) {
        let place = (at_ms - self.from_ms).div_euclid(self.step_ms);
        let Some(place) = usize::try_from(place).ok().filter(|place| *place < self.points) else { return };
        match &mut self.columns.entry(parameter).or_insert_with(|| vec![None; self.points])[place] {
            Some(there) => there.add(bucket),
            empty => *empty = Some(bucket),
        }
    }

    /// `t`, then the columns of each parameter; a step without a value is null.
    pub fn to_json(&self) -> Map<String, Value> {
        let number = |value: f32| {
            let rounded = (f64::from(value) * 100.0).round() / 100.0;
            if rounded.is_finite() { json!(rounded) } else { Value::Null }
        };
        let mut params = Map::new();
        for (parameter, row) in &self.columns {
            let column = |of: fn(&Bucket) -> f32| -> Vec<Value> {
                row.iter().map(|b| b.as_ref().map_or(Value::Null, |b| number(of(b)))).collect()
            };
            let columns = json!({
                "unit": parameter.unit().ucum(), "value": column(|b| b.last), "low": column(|b| b.low), "high": column(|b| b.high),
                "min": column(|b| b.min), "max": column(|b| b.max),
            });
            params.insert(parameter.key().to_owned(), columns);
        }
        let mut object = Map::new();
        object.insert("step_s".into(), json!(self.step_ms as f64 / 1000.0));
        object.insert("t".into(), (0..self.points as i64).map(|n| self.from_ms + n * self.step_ms).collect());
        object.insert("params".into(), params.into());
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_stays_a_gap_and_a_spike_stays_in_the_maximum() {
        let mut series = Series::new(Timestamp::from_ms(0), Timestamp::from_ms(30_000), 10_000);
        for (at, value) in [(0, 70.0), (5_000, 140.0), (20_000, 72.0)] {
            series.add(Parameter::Hr, at, Bucket::of(value, Some((60.0, 80.0))));
        }
        series.add(Parameter::Hr, 25_000, Bucket::of(71.0, None));
        let json = series.to_json();
        assert_eq!(json["t"], json!([0, 10_000, 20_000, 30_000]));
        let hr = &json["params"]["hr"];
        assert_eq!(hr["value"], json!([140.0, null, 71.0, null]));
        assert_eq!(hr["min"], json!([70.0, null, 71.0, null]));
        assert_eq!(hr["max"], json!([140.0, null, 72.0, null]));
        assert_eq!(hr["low"], json!([60.0, null, 60.0, null]));
    }
}
