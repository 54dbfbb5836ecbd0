//! How a device computes the corrected QT interval, and how it orders its rows: learned from its own messages.

use super::learn::Lesson;
use crate::observation::{ObsFlags, Observation};
use crate::vital::{ParamSet, Parameter};
use serde::{Deserialize, Serialize};

/// QTc from QT and heart rate, with RR = 60/HR in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Formula {
    /// QT/√RR (Bazett 1920).
    Bazett,
    /// QT/∛RR (Fridericia 1920).
    Fridericia,
    /// QT + 154 ms·(1 − RR) (Sagie et al. 1992).
    Framingham,
    /// QT + 1.75 ms·(HR − 60) (Hodges et al. 1983).
    Hodges,
}

impl Formula {
    pub const ALL: [Formula; 4] = [Formula::Bazett, Formula::Fridericia, Formula::Framingham, Formula::Hodges];

    /// QTc, ms.
    pub fn corrected(self, qt_ms: f64, hr: f64) -> f64 {
        let rr_s = 60.0 / hr;
        match self {
            Formula::Bazett => qt_ms / rr_s.sqrt(),
            Formula::Fridericia => qt_ms / rr_s.cbrt(),
            Formula::Framingham => qt_ms + 154.0 * (1.0 - rr_s),
            Formula::Hodges => qt_ms + 1.75 * (hr - 60.0),
        }
    }
}

/// Numbers that one formula alone must explain, and the share of them.
const NUMBERS_NEEDED: u16 = 10;
const SHARE: f64 = 0.9;
/// Deviation allowed, ms: a rate and a QT that were rounded before they were sent. More, and formulas cannot be told apart.
const DIFFERENCE_MS: f64 = 4.0;
const NUMBERS_MAX: u16 = 200;

/// Which formula explains the numbers of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Corrected {
    last: f32,
    seen: u16,
    fits: [u16; 4],
}

impl Corrected {
    /// Takes a message: QT, QTc and rate of one moment.
    pub fn push(&mut self, lesson: &Lesson<'_>) {
        let value = |p: Parameter| {
            let usable = |o: &&Observation| o.parameter == p && o.validity.usable() && o.value.is_finite();
            lesson.report.observations.iter().find(usable).map(|o| o.value).filter(|_| !lesson.doubted.contains(p))
        };
        let Some(qtc) = value(Parameter::Qtc) else { return };
        let (Some(qt), Some(hr)) = (value(Parameter::Qt), value(Parameter::Hr)) else { return };
        if hr <= 0.0 || f64::from(self.last) == qtc {
            return;
        }
        self.last = qtc as f32;
        if self.seen >= NUMBERS_MAX {
            self.seen /= 2;
            self.fits.iter_mut().for_each(|n| *n /= 2);
        }
        let fits = Formula::ALL.map(|f| (f.corrected(qt, hr) - qtc).abs() <= DIFFERENCE_MS);
        // Where all agree (a rate near 60) nothing is told.
        if fits.iter().all(|fit| *fit) {
            return;
        }
        self.seen += 1;
        for (count, fit) in self.fits.iter_mut().zip(fits) {
            *count += u16::from(fit);
        }
    }

    /// The one formula that explains nine of ten numbers.
    pub fn told(&self) -> Option<Formula> {
        let explains = |n: u16| self.seen >= NUMBERS_NEEDED && f64::from(n) >= SHARE * f64::from(self.seen);
        let mut known = Formula::ALL.into_iter().zip(self.fits).filter(|(_, n)| explains(*n));
        known.next().filter(|_| known.next().is_none()).map(|(formula, _)| formula)
    }
}

/// Messages before their order is a habit, and the share of them that may be otherwise.
const MESSAGES_NEEDED: u32 = 50;
const OTHERWISE: u32 = 50;
/// Parameters of one order.
const ORDER_MAX: usize = 64;

/// The order in which a device writes its rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RowOrder {
    list: Vec<Parameter>,
    messages: u32,
    otherwise: u32,
}

impl RowOrder {
    pub fn push(&mut self, rows: &[Observation]) {
        if rows.is_empty() {
            return;
        }
        self.messages = self.messages.saturating_add(1);
        if !follows(&self.list, rows) {
            self.otherwise = self.otherwise.saturating_add(1);
            return;
        }
        let mut place = 0;
        for p in first_rows(rows) {
            match self.list.iter().position(|known| *known == p) {
                Some(at) => place = at + 1,
                None if self.list.len() < ORDER_MAX => {
                    self.list.insert(place, p);
                    place += 1;
                }
                None => {}
            }
        }
    }

    /// The order, once it is a habit.
    pub fn told(&self) -> &[Parameter] {
        let settled = self.messages >= MESSAGES_NEEDED && self.otherwise.saturating_mul(OTHERWISE) <= self.messages;
        if settled { &self.list } else { &[] }
    }
}

/// The parameters of some rows, each where it stands first.
fn first_rows(rows: &[Observation]) -> impl Iterator<Item = Parameter> + '_ {
    let mut seen = ParamSet::EMPTY;
    rows.iter().filter(|o| !o.flags.has(ObsFlags::SHOWN_ONLY)).map(|o| o.parameter).filter(move |p| {
        let new = !seen.contains(*p);
        seen = seen.with(*p);
        new
    })
}

/// Whether rows stand in this order; what is missing, or not known, breaks none.
pub fn follows(order: &[Parameter], rows: &[Observation]) -> bool {
    let mut places = first_rows(rows).filter_map(|p| order.iter().position(|known| *known == p));
    let mut last = None;
    places.all(|place| {
        let on = last.is_none_or(|before| before < place);
        last = Some(place);
        on
    })
}
