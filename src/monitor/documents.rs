//! The state documents, written from the cells when they are asked for.

use super::cell::Cell;
use super::{BedId, Monitor};
use crate::alert::{
    Alert, AlertState, BedParameter, BedState, Flat, Members, Number, PriorityCounts, Top, Trust, TrustCounts, Vital, Vitals,
    WardBed, WardState,
};
use crate::bed::Stream;
use crate::calibration::Pace;
use crate::check::{Assessment, Priority};
use crate::episode::Episode;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};

/// What the open alerts of a bed say of its values.
#[derive(Debug, Default)]
struct Doubt {
    untrusted: ParamSet,
    questioned: ParamSet,
    all_untrusted: bool,
    all_questioned: bool,
}

impl Doubt {
    fn of(cell: &Cell) -> Doubt {
        let mut doubt = Doubt::default();
        for episode in cell.episodes.open().filter(|e| e.holds()) {
            match episode.assessment {
                Assessment::Tamper | Assessment::Identity if episode.priority != Priority::Info => {
                    doubt.untrusted = doubt.untrusted.union(episode.params);
                    doubt.all_untrusted |= episode.params.is_empty();
                }
                Assessment::Artefact | Assessment::Unit if episode.priority != Priority::Info => {
                    doubt.questioned = doubt.questioned.union(episode.params);
                    doubt.all_questioned |= episode.params.is_empty() && !episode.check.meta().id.starts_with('S');
                }
                _ => {}
            }
        }
        doubt
    }
}

fn published() -> impl Iterator<Item = Parameter> {
    Parameter::ALL.iter().copied().filter(|p| p.published())
}

impl Monitor {
    fn nofeed(&self, cell: &Cell, now: Timestamp) -> bool {
        cell.heard && !cell.live(now)
    }

    fn parameter_trust(&self, cell: &Cell, stream: &Stream, doubt: &Doubt, now: Timestamp) -> Trust {
        let p = stream.parameter;
        let profile = cell.learner.profile(self.house.shelf.of_application(&cell.application));
        match () {
            () if cell.bed.off => Trust::Off,
            () if self.nofeed(cell, now) => Trust::Nofeed,
            () if stream.is_stale(now) || stream.absent.is_some() => Trust::Stale,
            () if doubt.all_untrusted || doubt.untrusted.contains(p) => Trust::Untrusted,
            () if doubt.all_questioned || doubt.questioned.contains(p) => Trust::Questioned,
            // What was charted is never judged: it has no baseline to be held against.
            () if stream.is_charted() || cell.bed.is_learning(p, profile, now) => Trust::Learning,
            () => Trust::Plausible,
        }
    }

    fn bed_trust(&self, cell: &Cell, now: Timestamp) -> Trust {
        if cell.bed.off {
            return Trust::Off;
        }
        let doubt = Doubt::of(cell);
        if !cell.reserved && (!cell.heard || self.nofeed(cell, now)) {
            return Trust::Nofeed;
        }
        let mut worst = if doubt.all_untrusted {
            Trust::Untrusted
        } else if doubt.all_questioned {
            Trust::Questioned
        } else {
            Trust::Plausible
        };
        let measured = cell.bed.is_measured();
        for p in published() {
            // A cuff or a setting that was not taken for long is old by its nature: the parameter shows it.
            let Some(stream) = cell.bed.stream(p) else { continue };
            // Beside a monitor, what was charted shows at its parameter alone.
            if stream.is_charted() && measured {
                continue;
            }
            worst = worst.max(self.parameter_trust(cell, stream, &doubt, now));
        }
        worst
    }

    fn active(&self, cell: &Cell, now: Timestamp) -> Vec<Alert> {
        let mut open: Vec<&Episode> = cell.episodes.open().collect();
        open.sort_by(|a, b| (a.priority, a.onset, &a.id).cmp(&(b.priority, b.onset, &b.id)));
        let desk = self.desk(cell);
        open.into_iter().map(|e| cell.episodes.alert(e, &cell.findings, now, &desk)).collect()
    }

    /// Where the bed's statistics, and what is known of such patients, expect a parameter.
    pub(super) fn expected(&self, cell: &Cell, parameter: Parameter, now: Timestamp) -> Option<(f64, f64)> {
        let pace = Pace::of(cell.bed.delta_s().unwrap_or(1.0));
        let prior = self.house.settings.models.prior(cell.bed.age, pace, parameter);
        cell.bed.expected_band(parameter, prior.as_deref(), now)
    }

    /// `bed-state/1`.
    pub fn bed_state(&self, bed: BedId, now: Timestamp) -> Option<BedState> {
        let cell = self.cells.get(bed.0 as usize)?;
        let now = now.max(self.now);
        let doubt = Doubt::of(cell);
        let active = self.active(cell, now);
        let mut params = Vec::new();
        let mut learning = false;
        for p in published() {
            let Some(stream) = cell.bed.stream(p) else { continue };
            let trust = self.parameter_trust(cell, stream, &doubt, now);
            learning |= trust == Trust::Learning;
            let fresh = !matches!(trust, Trust::Stale | Trust::Nofeed | Trust::Off);
            let last = stream.latest;
            let mdc = p.mdc();
            let conditions =
                cell.episodes.open().filter(|e| e.params.contains(p)).map(|e| e.check.meta().id.to_owned()).collect();
            let member = BedParameter {
                value: last.filter(|_| fresh).map(|l| Number(l.value)),
                unit: p.unit().ucum().to_owned(),
                trust,
                age_ms: last.map(|l| now.since_ms(l.received_at).max(0)),
                last_ts: last.filter(|_| !fresh).map(|l| l.received_at),
                band: if fresh && trust != Trust::Learning {
                    self.expected(cell, p, now).map(|(low, high)| [Number(low), Number(high)])
                } else {
                    None
                },
                code: mdc.map(|(code, _)| code.to_string()),
                name: mdc.map(|(_, name)| name.to_owned()),
                conditions,
            };
            params.push((p, member));
        }
        Some(BedState {
            ts: now,
            rev: cell.rev,
            ward: cell.bed.ward.clone(),
            bed: cell.bed.bed.clone(),
            trust: self.bed_trust(cell, now),
            priority: active.iter().map(|a| a.priority).min(),
            learning,
            params: Members(params),
            active,
            device: self.device_of(bed.0, &cell.device),
        })
    }

    /// `ward-state/1`, all parts. Every call is a new revision.
    pub fn ward_states(&mut self, ward: &str, now: Timestamp) -> Vec<WardState> {
        let Some(at) = self.wards.iter().position(|w| w.name == ward) else { return Vec::new() };
        self.wards[at].rev += 1;
        let now = now.max(self.now);
        let (mut trust, mut alerts, mut unacked) = (TrustCounts::default(), PriorityCounts::default(), PriorityCounts::default());
        let mut beds = Vec::new();
        for number in &self.wards[at].cells {
            let cell = &self.cells[*number as usize];
            let open: Vec<&Episode> = cell.episodes.open().collect();
            if cell.reserved && open.is_empty() {
                continue;
            }
            let bed_trust = self.bed_trust(cell, now);
            if !cell.reserved {
                trust.add(bed_trust);
            }
            for episode in &open {
                alerts.add(episode.priority);
                if episode.unacked() {
                    unacked.add(episode.priority);
                }
            }
            let top = open.iter().min_by(|a, b| (a.priority, a.onset, &a.id).cmp(&(b.priority, b.onset, &b.id)));
            beds.push(WardBed {
                bed: cell.bed.bed.clone(),
                trust: bed_trust,
                rev: cell.rev,
                alerts: open.len() as u32,
                priority: top.map(|e| e.priority),
                unacked: top.map(|_| open.iter().filter(|e| e.unacked()).count() as u32),
                top: top.map(|e| Top {
                    id: e.id.clone(),
                    condition: e.check.meta().condition(),
                    assessment: e.assessment,
                    onset: e.onset,
                }),
            });
        }
        WardState::split(WardState {
            ts: now,
            rev: self.wards[at].rev,
            ward: ward.to_owned(),
            part: 0,
            parts: 1,
            trust,
            alerts,
            unacked,
            beds,
        })
    }

    /// Every parameter of a bed with its value, where fresh, trust and age.
    fn values(&self, cell: &Cell, now: Timestamp) -> Vec<(Parameter, Option<f64>, Trust, Option<i64>)> {
        let doubt = Doubt::of(cell);
        published()
            .filter_map(|p| {
                let stream = cell.bed.stream(p)?;
                let trust = self.parameter_trust(cell, stream, &doubt, now);
                let fresh = !matches!(trust, Trust::Stale | Trust::Nofeed | Trust::Off);
                let age_ms = stream.latest.map(|l| now.since_ms(l.received_at).max(0));
                Some((p, stream.latest.filter(|_| fresh).map(|l| l.value), trust, age_ms))
            })
            .collect()
    }

    /// `vitals/1`.
    pub fn vitals(&self, bed: BedId, now: Timestamp) -> Option<Vitals> {
        let cell = self.cells.get(bed.0 as usize)?;
        let now = now.max(self.now);
        let params = self
            .values(cell, now)
            .into_iter()
            .map(|(p, value, trust, age_ms)| (p, Vital { value: value.map(Number), trust, age_ms }))
            .collect();
        Some(Vitals {
            ts: now,
            ward: cell.bed.ward.clone(),
            bed: cell.bed.bed.clone(),
            trust: self.bed_trust(cell, now),
            params: Members(params),
        })
    }

    /// `flat`.
    pub fn flat(&self, bed: BedId, now: Timestamp) -> Option<Flat> {
        let cell = self.cells.get(bed.0 as usize)?;
        let now = now.max(self.now);
        Some(Flat {
            ts: now,
            trust: self.bed_trust(cell, now),
            alerts: cell.episodes.open().count() as u32,
            params: self.values(cell, now).into_iter().map(|(p, value, trust, _)| (p, value, trust)).collect(),
        })
    }

    /// Whether a high or medium alert is open, other than that nobody listens.
    pub fn awaits_a_person(&self) -> bool {
        let waits = |e: &Episode| e.priority <= Priority::Medium && e.check != crate::check::id::no_station_listening;
        self.cells.iter().any(|cell| cell.episodes.open().any(waits))
    }

    /// Every open alert, by bed, then high first, then by onset.
    pub fn open_alerts(&self) -> Vec<Alert> {
        self.cells.iter().flat_map(|cell| self.active(cell, self.now)).collect()
    }

    /// An open alert.
    pub fn alert(&self, id: &str) -> Option<Alert> {
        let cell = &self.cells[*self.alerts.get(id)? as usize];
        Some(cell.episodes.alert(cell.episodes.by_id(id)?, &cell.findings, self.now, &self.desk(cell)))
    }

    /// Beds by trust and open alerts by priority, for the heartbeat.
    pub fn counts(&self, now: Timestamp) -> (TrustCounts, PriorityCounts) {
        let now = now.max(self.now);
        let (mut trust, mut alerts) = (TrustCounts::default(), PriorityCounts::default());
        for cell in &self.cells {
            if !cell.reserved {
                trust.add(self.bed_trust(cell, now));
            }
            for episode in cell.episodes.open().filter(|e| e.state != AlertState::Cleared) {
                alerts.add(episode.priority);
            }
        }
        (trust, alerts)
    }
}
