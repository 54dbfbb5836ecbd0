//! Limits by parameter and age band (`models/population/limits.toml`), typed and validated.
//!
//! The shipped table is part of the binary; a test reads it, so that a broken row cannot be released. What has no row has no
//! limit: nothing is guessed.

use crate::observation::AgeBand;
use crate::time::Timestamp;
use crate::vital::Parameter;
use serde::Deserialize;

pub mod prior;

/// The limits, by their path under `models/`.
pub const LIMITS_PATH: &str = "population/limits.toml";
/// The files of this module that are part of the program, by their path under `models/`.
pub const SHIPPED: &[(&str, &str)] = &[
    (LIMITS_PATH, LIMITS),
    ("population/adult_1s.toml", include_str!("../models/population/adult_1s.toml")),
    ("population/adult_60s.toml", include_str!("../models/population/adult_60s.toml")),
];
const LIMITS: &str = include_str!("../models/population/limits.toml");
const BANDS: [AgeBand; 6] =
    [AgeBand::Neonate, AgeBand::Infant, AgeBand::Child, AgeBand::Adolescent, AgeBand::Adult, AgeBand::Unknown];
const NONE: Interval = Interval { low: f64::NAN, high: f64::NAN };

/// A closed interval in the parameter's canonical unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// Whether the value lies inside or on the edge.
    pub fn holds(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
    /// The edge that the value is beyond; the lower one for a value inside.
    pub fn edge(self, value: f64) -> f64 {
        if value > self.high { self.high } else { self.low }
    }
    fn union(self, other: Interval) -> Interval {
        // `min` and `max` of a NaN give the other number.
        Interval { low: self.low.min(other.low), high: self.high.max(other.high) }
    }
    fn known(self) -> Option<Interval> {
        self.low.is_finite().then_some(self)
    }
}

/// Why a limits file was refused.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    #[error("limits: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("limits: schema {0:?} is not limits/1")]
    Schema(String),
    #[error("limits: {place}: {reason}")]
    Row { place: String, reason: String },
}

/// The limits and spreads of the population.
#[derive(Debug, Clone, PartialEq)]
pub struct Population {
    hard: Vec<[Interval; BANDS.len()]>,
    soft: Vec<[Interval; BANDS.len()]>,
    spread: Vec<f64>,
    centiles: Vec<Centile>,
}

/// First and ninety-ninth centile of children of an age.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Centile {
    pub parameters: Vec<Parameter>,
    /// From this age in months up to that one.
    pub months: [f64; 2],
    pub p01: f64,
    pub p99: f64,
    /// Somebody has held it against the source. What is not verified is shown to people and decides nothing.
    pub verified: bool,
    pub source: String,
}

impl Default for Population {
    /// The shipped table.
    fn default() -> Self {
        Population::from_toml(LIMITS).expect("the shipped table is read by a test")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: String,
    #[serde(rename = "version")]
    _version: String,
    limit: Vec<LimitRow>,
    spread: Vec<SpreadRow>,
    #[serde(default)]
    centile: Vec<Centile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitRow {
    ages: Vec<AgeBand>,
    parameters: Vec<Parameter>,
    hard: [f64; 2],
    soft: Option<[f64; 2]>,
    mark: Mark,
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpreadRow {
    parameters: Vec<Parameter>,
    sd: f64,
    mark: Mark,
    source: String,
}

/// How well a number is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Mark {
    P,
    C,
    M,
    D,
    K,
}

impl Population {
    /// Reads and validates a limits file.
    pub fn from_toml(text: &str) -> Result<Population, LimitsError> {
        let file: File = toml::from_str(text)?;
        if file.schema != "limits/1" {
            return Err(LimitsError::Schema(file.schema));
        }
        let mut population = Population {
            hard: vec![[NONE; BANDS.len()]; Parameter::COUNT],
            soft: vec![[NONE; BANDS.len()]; Parameter::COUNT],
            spread: vec![f64::NAN; Parameter::COUNT],
            centiles: file.centile,
        };
        for (at, row) in population.centiles.iter().enumerate() {
            let ages = row.months[0] >= 0.0 && row.months[0] < row.months[1] && row.months[1] <= 216.0;
            let apart = row.p01 < row.p99;
            if !ages || !apart || row.parameters.is_empty() || row.source.trim().is_empty() {
                let reason = "ages, centiles, parameters or source cannot be".into();
                return Err(LimitsError::Row { place: format!("centile {}", at + 1), reason });
            }
        }
        for (at, row) in file.limit.iter().enumerate() {
            let refuse = |reason: &str| LimitsError::Row { place: format!("limit {}", at + 1), reason: reason.into() };
            let hard = Interval { low: row.hard[0], high: row.hard[1] };
            if hard.low.partial_cmp(&hard.high) != Some(std::cmp::Ordering::Less) {
                return Err(refuse("hard is not an interval"));
            }
            let soft = row.soft.map_or(NONE, |s| Interval { low: s[0], high: s[1] });
            if row.soft.is_some() && !(hard.holds(soft.low) && hard.holds(soft.high) && soft.low < soft.high) {
                return Err(refuse("soft does not lie inside hard"));
            }
            if row.source.trim().is_empty() || row.ages.is_empty() || row.parameters.is_empty() {
                return Err(refuse("source, ages or parameters are empty"));
            }
            if row.mark == Mark::D {
                return Err(refuse("a limit is not measured on recordings"));
            }
            for parameter in &row.parameters {
                for age in &row.ages {
                    let known = &mut population.hard[*parameter as usize];
                    if *age == AgeBand::Unknown {
                        return Err(refuse("unknown age is the union of the others, not a row"));
                    }
                    if known[*age as usize].known().is_some() {
                        return Err(refuse(&format!("{} has a limit for this age already", parameter.key())));
                    }
                    known[*age as usize] = hard;
                    known[AgeBand::Unknown as usize] = known[AgeBand::Unknown as usize].union(hard);
                    let known = &mut population.soft[*parameter as usize];
                    known[*age as usize] = soft;
                    known[AgeBand::Unknown as usize] = known[AgeBand::Unknown as usize].union(soft);
                }
            }
        }
        for (at, row) in file.spread.iter().enumerate() {
            if !(row.sd > 0.0 && row.sd.is_finite()) || row.source.trim().is_empty() || row.mark == Mark::P {
                let reason = "sd is not positive, or the source is missing or not a measurement".into();
                return Err(LimitsError::Row { place: format!("spread {}", at + 1), reason });
            }
            for parameter in &row.parameters {
                population.spread[*parameter as usize] = row.sd;
            }
        }
        Ok(population)
    }

    /// What 98 of 100 children of an age in months have; `None`: nothing that somebody has verified.
    pub fn child(&self, parameter: Parameter, months: f64) -> Option<Interval> {
        let fits =
            |c: &&Centile| c.verified && c.parameters.contains(&parameter) && c.months[0] <= months && months < c.months[1];
        self.centiles.iter().find(fits).map(|c| Interval { low: c.p01, high: c.p99 })
    }

    /// Every row of the children's table, verified or not.
    pub fn centiles(&self) -> &[Centile] {
        &self.centiles
    }

    /// What a device of this kind can report at this age; `None`: no limit is known.
    pub fn hard(&self, parameter: Parameter, age: AgeBand) -> Option<Interval> {
        self.hard[parameter as usize][age as usize].known()
    }

    /// Beyond this a value is labelled, never alerted alone.
    pub fn soft(&self, parameter: Parameter, age: AgeBand) -> Option<Interval> {
        self.soft[parameter as usize][age as usize].known()
    }

    /// Usual standard deviation within one patient, canonical unit.
    pub fn within_sd(&self, parameter: Parameter) -> Option<f64> {
        let sd = self.spread[parameter as usize];
        sd.is_finite().then_some(sd)
    }
}

/// The age band by the birth date (PID-7); unknown where there is none, or one that nobody alive has.
pub fn band_of(birth: Option<Timestamp>, now: Timestamp) -> AgeBand {
    const DAY_S: f64 = 86_400.0;
    const YEAR_S: f64 = 365.25 * DAY_S;
    match birth.map(|birth| now.since_s(birth)) {
        Some(s) if !(-DAY_S..130.0 * YEAR_S).contains(&s) => AgeBand::Unknown,
        None => AgeBand::Unknown,
        Some(s) if s < 29.0 * DAY_S => AgeBand::Neonate,
        Some(s) if s < YEAR_S => AgeBand::Infant,
        Some(s) if s < 12.0 * YEAR_S => AgeBand::Child,
        Some(s) if s < 18.0 * YEAR_S => AgeBand::Adolescent,
        Some(_) => AgeBand::Adult,
    }
}

/// The band whose limits count, from the band by birth date and the monitor's patient category, and whether the two contradict
/// each other. Where they do the age is unknown (the union of all): an adult limit on a newborn is the commonest configuration
/// fault. A category alone says adult or neonate; "paediatric" (`Child`) is anything from infant to adolescent, so it narrows
/// nothing down. Monitors keep infants in their neonatal mode and call adolescents adults: neither contradicts.
pub fn band(born: AgeBand, class: Option<AgeBand>) -> (AgeBand, bool) {
    let rough = |b: AgeBand| match b {
        AgeBand::Neonate => 0,
        AgeBand::Adult => 2,
        _ => 1,
    };
    match (born, class) {
        (AgeBand::Unknown, Some(class @ (AgeBand::Adult | AgeBand::Neonate))) => (class, false),
        (AgeBand::Unknown, _) => (AgeBand::Unknown, false),
        (born, None | Some(AgeBand::Unknown)) => (born, false),
        (born, Some(class)) => {
            let near = rough(born) == rough(class)
                || matches!((born, class), (AgeBand::Infant, AgeBand::Neonate) | (AgeBand::Adolescent, AgeBand::Adult));
            if near { (born, false) } else { (AgeBand::Unknown, true) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_is_valid_and_says_what_it_should() {
        let p = Population::default();
        assert_eq!(p.hard(Parameter::Hr, AgeBand::Adult), Some(Interval { low: 15.0, high: 300.0 }));
        assert_eq!(p.hard(Parameter::Hr, AgeBand::Unknown), Some(Interval { low: 15.0, high: 350.0 }));
        assert_eq!(p.hard(Parameter::NibpSys, AgeBand::Unknown), Some(Interval { low: 10.0, high: 300.0 }));
        assert_eq!(p.soft(Parameter::Rr, AgeBand::Neonate), Some(Interval { low: 10.0, high: 100.0 }));
        assert_eq!(p.hard(Parameter::StIi, AgeBand::Adult), None);
        assert_eq!(p.within_sd(Parameter::Spo2), Some(0.8));
    }

    #[test]
    fn what_nobody_has_verified_of_children_decides_nothing() {
        let shipped = Population::default();
        assert!(shipped.centiles().len() > 20);
        assert_eq!(shipped.child(Parameter::Hr, 1.0), None);
        let verified = LIMITS.replace("verified = false", "verified = true");
        let population = Population::from_toml(&verified).unwrap();
        assert_eq!(population.child(Parameter::Hr, 1.0), Some(Interval { low: 107.0, high: 181.0 }));
        assert_eq!(population.child(Parameter::Hr, 217.0), None);
        assert!(Population::from_toml(&verified.replace("p01 = 107", "p01 = 207")).is_err());
    }

    #[test]
    fn a_row_that_cannot_be_is_refused() {
        let row = |hard: &str, source: &str| {
            format!(
                "schema = \"limits/1\"\nversion = \"1.0.0\"\nspread = []\n[[limit]]\nages = [\"adult\"]\nparameters = [\"hr\"]\nhard = {hard}\nmark = \"M\"\nsource = \"{source}\"\n"
            )
        };
        assert!(Population::from_toml(&row("[15, 300]", "manual")).is_ok());
        assert!(Population::from_toml(&row("[300, 15]", "manual")).is_err());
        assert!(Population::from_toml(&row("[15, 300]", " ")).is_err());
        assert!(Population::from_toml(&row("[15, 300]", "manual").replace("hr", "hartrate")).is_err());
        assert!(Population::from_toml(&row("[15, 300]", "manual").replace("limits/1", "limits/2")).is_err());
    }

    #[test]
    fn the_age_comes_from_birth_and_category_and_a_contradiction_is_unknown() {
        let now = Timestamp::from_civil(2026, 6, 1, 12, 0, 0, 0).unwrap();
        let born = |y, m, d| Timestamp::from_civil(y, m, d, 0, 0, 0, 0);
        let age = |birth, class| band(band_of(birth, now), class);
        assert_eq!(age(born(2026, 5, 4), None), (AgeBand::Neonate, false), "28 days");
        assert_eq!(age(born(2026, 5, 3), None), (AgeBand::Infant, false), "29 days");
        assert_eq!(age(born(2026, 1, 1), Some(AgeBand::Neonate)), (AgeBand::Infant, false));
        assert_eq!(age(born(2019, 1, 1), Some(AgeBand::Child)), (AgeBand::Child, false));
        assert_eq!(age(born(2010, 1, 1), Some(AgeBand::Adult)), (AgeBand::Adolescent, false));
        assert_eq!(age(born(1950, 1, 1), Some(AgeBand::Neonate)), (AgeBand::Unknown, true));
        assert_eq!(age(born(2026, 5, 20), Some(AgeBand::Adult)), (AgeBand::Unknown, true));
        assert_eq!(age(born(1850, 1, 1), None), (AgeBand::Unknown, false));
        assert_eq!(age(None, Some(AgeBand::Adult)), (AgeBand::Adult, false));
        assert_eq!(age(None, Some(AgeBand::Child)), (AgeBand::Unknown, false), "infant to adolescent");
        assert_eq!(age(None, None), (AgeBand::Unknown, false));
    }
}
