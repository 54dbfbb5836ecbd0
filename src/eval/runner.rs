//! Messages through the real [`Monitor`]: bytes in, deadlines between, alerts out as [`Episode`]s.
//!
//! A clean run is made once. At an attack's start its state is kept ([`Ward::mark`]) and the attacked messages go on from
//! there ([`Ward::go_on`]): the same as a whole run of its own, at the price of what comes after the start.

use super::render::Wire;
use crate::alert::{AlertEvent, BedParameter, EventKind, Trust};
use crate::check::{Assessment, CATALOGUE, CheckId, Priority, Tapped};
use crate::command::{Command, Verb, Via};
use crate::monitor::{Monitor, Output, Settings};
use crate::observation::Source;
use crate::time::Timestamp;
use crate::vital::{ParamSet, Parameter};
use rustc_hash::FxHashMap;

/// A parameter, its value as the document shows it, and the band in which the statistics expect it.
pub type Expected = (Parameter, Option<f64>, Option<(f64, f64)>);

/// An alert of one assessment ends after so long without one, seconds: what comes sooner is the same episode.
pub const EPISODE_GAP_S: f64 = 300.0;

/// One alert for as long as it is of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    pub bed: String,
    pub assessment: Assessment,
    /// The condition, and what joined its evidence later, each with its time.
    pub checks: Vec<(CheckId, Timestamp)>,
    /// The most urgent so far.
    pub priority: Priority,
    pub params: ParamSet,
    pub raised_at: Timestamp,
    /// Since when it stands at a nursing station: low, medium or high, and not on the engineers' list.
    pub shown_at: Option<Timestamp>,
    /// Since when a nurse is called: medium or high.
    pub nurse_at: Option<Timestamp>,
    pub cleared_at: Option<Timestamp>,
    pub text: String,
}

impl Episode {
    /// The check that names it.
    pub fn check(&self) -> &'static str {
        self.checks.first().map_or("", |(check, _)| check.meta().id)
    }
    /// When a check stood in its evidence first.
    pub fn has(&self, id: &str) -> Option<Timestamp> {
        self.checks.iter().find(|(check, _)| check.meta().id == id).map(|(_, at)| *at)
    }
    /// Whether it is open somewhere in a stretch of time; `from` is when it began to count.
    pub fn overlaps(&self, from: Timestamp, start: Timestamp, end: Timestamp) -> bool {
        from <= end && self.cleared_at.is_none_or(|cleared| cleared >= start)
    }
}

/// One bit for each check whose id begins with one of these letters.
pub fn family(letters: &[char]) -> u128 {
    CATALOGUE.iter().enumerate().filter(|(_, meta)| meta.id.starts_with(letters)).fold(0, |bits, (at, _)| bits | 1 << at)
}

/// How often a kind of alert began, by [`EPISODE_GAP_S`].
pub fn count(episodes: &[Episode], counts: impl Fn(&Episode) -> Option<Timestamp>) -> u64 {
    let mut spans: Vec<(&str, Timestamp, Timestamp)> = episodes
        .iter()
        .filter_map(|e| counts(e).map(|from| (e.bed.as_str(), from, e.cleared_at.unwrap_or(Timestamp::MAX))))
        .collect();
    spans.sort_unstable();
    let mut number = 0;
    let mut last: Option<(&str, Timestamp)> = None;
    for (bed, from, to) in spans {
        match &mut last {
            Some((same, end)) if *same == bed && from.since_s(*end) <= EPISODE_GAP_S => *end = (*end).max(to),
            _ => {
                number += 1;
                last = Some((bed, to));
            }
        }
    }
    number
}

/// A monitor, and what it said.
pub struct Ward {
    monitor: Monitor,
    sequence: u64,
    sources: Vec<Source>,
    episodes: Vec<Episode>,
    /// The episode of each open alert.
    open: FxHashMap<String, usize>,
}

/// Where a run stood.
pub struct Mark {
    snapshot: Vec<u8>,
    sequence: u64,
    /// Episodes still open, under the ids of their alerts.
    open: Vec<(String, Episode)>,
}

impl Mark {
    /// State of the whole monitor, bytes.
    pub fn len(&self) -> usize {
        self.snapshot.len()
    }
    pub fn is_empty(&self) -> bool {
        self.snapshot.is_empty()
    }
}

impl Ward {
    pub fn new(settings: Settings) -> Ward {
        Ward {
            monitor: Monitor::new(settings),
            sequence: 0,
            sources: Vec::new(),
            episodes: Vec::new(),
            open: FxHashMap::default(),
        }
    }

    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// From now on [`Ward::tapped`] hears what the checks rank and find.
    pub fn tap(&mut self) {
        self.monitor.tap();
    }

    /// What was heard since it was last asked for.
    pub fn tapped(&mut self) -> Vec<Tapped> {
        self.monitor.tapped()
    }

    /// Messages that were refused so far.
    pub fn refused(&self) -> u64 {
        self.monitor.feeds().map(|f| f.unreadable).sum()
    }

    fn source(feed: u8) -> Source {
        Source {
            feed: super::render::feed::name(feed),
            peer: format!("192.0.2.{}", 10 + u32::from(feed)),
            connection: u64::from(feed) + 1,
            ward: "bench".into(),
            ..Source::default()
        }
    }

    /// One message as it comes from the wire.
    pub fn push(&mut self, wire: &Wire) {
        while self.sources.len() <= usize::from(wire.feed) {
            self.sources.push(Ward::source(self.sources.len() as u8));
        }
        self.sequence += 1;
        self.monitor.handle_frame(&self.sources[usize::from(wire.feed)], self.sequence, &wire.bytes, wire.received_at);
        self.drain();
    }

    /// A person types what the bedside monitor shows.
    pub fn read_at_bedside(&mut self, ward: &str, bed: &str, values: Vec<(Parameter, f64)>, at: Timestamp) {
        let verb = Verb::SpotCheck { ward: ward.to_owned(), bed: bed.to_owned(), values };
        let request_id = format!("bench-{}", at.ms());
        self.monitor.handle_command(
            &Command { request_id, user: "bench".into(), via: Via::Web, expires: None, wards: Vec::new(), verb },
            self.sequence,
            at,
        );
        self.drain();
    }

    /// It is so late.
    pub fn wait(&mut self, until: Timestamp) {
        self.monitor.handle_timeout(until);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.monitor.poll_output() {
            if let Output::Alert(event) = output {
                self.take(&event);
            }
        }
    }

    fn take(&mut self, event: &AlertEvent) {
        let alert = &event.alert;
        let known = self.open.get(&alert.id).copied();
        if matches!(event.event, EventKind::Cleared | EventKind::Expired) || alert.ended.is_some() {
            if let Some(at) = known {
                // A latched alert is over for the patient; only the acknowledgement is missing.
                self.episodes[at].cleared_at.get_or_insert(event.ts);
                self.open.remove(&alert.id);
            }
            return;
        }
        let at = match known {
            Some(at) if self.episodes[at].assessment == alert.assessment => at,
            known => {
                if let Some(at) = known {
                    self.episodes[at].cleared_at.get_or_insert(event.ts);
                }
                self.episodes.push(Episode {
                    bed: format!("{}/{}", alert.ward, alert.bed),
                    assessment: alert.assessment,
                    checks: Vec::new(),
                    priority: alert.priority,
                    params: ParamSet::EMPTY,
                    raised_at: event.ts,
                    shown_at: None,
                    nurse_at: None,
                    cleared_at: None,
                    text: alert.text.en.clone(),
                });
                self.open.insert(alert.id.clone(), self.episodes.len() - 1);
                self.episodes.len() - 1
            }
        };
        let episode = &mut self.episodes[at];
        episode.priority = episode.priority.min(alert.priority);
        if alert.priority <= Priority::Low && !matches!(alert.assessment, Assessment::Unverified | Assessment::Advisory) {
            episode.shown_at.get_or_insert(event.ts);
        }
        if alert.priority <= Priority::Medium {
            episode.nurse_at.get_or_insert(event.ts);
        }
        episode.params = episode.params.union(alert.params.iter().copied().collect::<ParamSet>());
        let ids = std::iter::once(alert.condition.split(' ').next().unwrap_or_default())
            .chain(alert.evidence.iter().map(|row| row.check.split(' ').next().unwrap_or_default()));
        for check in ids.filter_map(CheckId::from_id) {
            if episode.checks.iter().all(|(known, _)| *known != check) {
                episode.checks.push((check, event.ts));
            }
        }
    }

    /// Parameters of a bed that are fresh and have no value in its document.
    pub fn blank(&self, ward: &str, bed: &str, now: Timestamp) -> ParamSet {
        let Some(state) = self.monitor.bed_id(ward, bed).and_then(|id| self.monitor.bed_state(id, now)) else {
            return ParamSet::EMPTY;
        };
        let blank = |p: &&(Parameter, BedParameter)| {
            p.1.value.is_none() && !matches!(p.1.trust, Trust::Stale | Trust::Nofeed | Trust::Off)
        };
        state.params.0.iter().filter(blank).map(|(p, _)| *p).collect()
    }

    /// What the bed's statistics expect of each parameter now, and its value as the document shows it.
    pub fn expected(&self, ward: &str, bed: &str, now: Timestamp) -> Vec<Expected> {
        let state = self.monitor.bed_id(ward, bed).and_then(|id| self.monitor.bed_state(id, now));
        let row = |(p, one): (Parameter, BedParameter)| (p, one.value.map(|v| v.0), one.band.map(|b| (b[0].0, b[1].0)));
        state.map_or(Vec::new(), |state| state.params.0.into_iter().map(row).collect())
    }

    /// What was found so far, in the order in which it began.
    pub fn episodes(&self) -> &[Episode] {
        &self.episodes
    }

    /// Keeps where the run stands.
    pub fn mark(&self) -> Mark {
        let mut open: Vec<(String, Episode)> =
            self.open.iter().map(|(id, at)| (id.clone(), self.episodes[*at].clone())).collect();
        open.sort_by(|a, b| a.0.cmp(&b.0));
        Mark { snapshot: self.monitor.snapshot(), sequence: self.sequence, open }
    }

    /// Goes on from where a run of the same settings stood; of its episodes only the open ones are known.
    pub fn go_on(&mut self, mark: &Mark) {
        self.monitor.rewind(&mark.snapshot).unwrap_or_else(|error| panic!("a mark of the same settings: {error}"));
        self.sequence = mark.sequence;
        self.episodes.clear();
        self.open.clear();
        for (id, episode) in &mark.open {
            self.open.insert(id.clone(), self.episodes.len());
            self.episodes.push(episode.clone());
        }
    }
}

/// The parameters of a set as a reader names them.
pub fn names(params: ParamSet) -> String {
    params.iter().map(Parameter::key).collect::<Vec<_>>().join(" ")
}
