//! Clocks of legal terms (`models/dossier/terms.toml`).
//!
//! A clock runs only from a person's confirmation, and from the knowledge time that the person states: nothing that the
//! program has seen starts one. Hours are exact; days and months are those of the calendar in the site's zone, to the same
//! time of day (31 January and one month is the last of February; a time that the change to summer time leaves out is the
//! same time after the gap, one that comes twice is the earlier); work days are Monday to Friday, holidays are not known.

use crate::alert::{Text, rfc3339};
use crate::dossier::{Confirmation, Filing, Form, Kind, Mark};
use crate::time::Timestamp;
use jiff::civil::Weekday;
use jiff::{Span, Zoned, tz::TimeZone};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

pub(super) const TERMS: &str = include_str!("../../models/dossier/terms.toml");

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    Hours,
    Days,
    Months,
    WorkDays,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Term {
    id: String,
    kinds: Vec<Kind>,
    form: Form,
    amount: u16,
    unit: Unit,
    mark: Mark,
    /// Shown for information: of another country.
    #[serde(default)]
    information: bool,
    regime: Text,
    condition: Text,
    source: Text,
    #[serde(default)]
    note: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: String,
    #[expect(dead_code, reason = "read with the table of models")]
    version: String,
    #[serde(rename = "term")]
    terms: Vec<Term>,
}

static SHIPPED: LazyLock<Vec<Term>> = LazyLock::new(|| read(TERMS).expect("the shipped terms are read by a test"));

fn read(text: &str) -> Result<Vec<Term>, String> {
    let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
    if file.schema != "terms/1" {
        return Err(format!("schema {:?} is not terms/1", file.schema));
    }
    if let Some(kind) = Kind::ALL.into_iter().find(|kind| !file.terms.iter().any(|t| t.kinds.contains(kind))) {
        return Err(format!("no term of {}", kind.as_str()));
    }
    if let Some(term) = file.terms.iter().find(|t| t.amount == 0 || t.amount > 366) {
        return Err(format!("term {}: amount 1 to 366 is meant", term.id));
    }
    Ok(file.terms)
}

/// Whether a clock runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum ClockState {
    Running,
    /// The confirmation was withdrawn.
    Withdrawn {
        #[serde(with = "rfc3339")]
        at: Timestamp,
        by: String,
    },
    /// A person said that the form was filed.
    Filed {
        #[serde(with = "rfc3339")]
        at: Timestamp,
        by: String,
    },
}

/// One term of one confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// `it-serious-10d`; once for a kind that is confirmed.
    pub id: String,
    pub kind: Kind,
    pub form: Form,
    pub regime: Text,
    /// `10 days`.
    pub term: Text,
    /// "If this is a … then".
    pub condition: Text,
    pub source: Text,
    pub mark: Mark,
    /// How it was counted, where that is not plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Text>,
    /// Of another country: shown, no countdown.
    pub information: bool,
    /// The knowledge time that was stated.
    #[serde(with = "rfc3339")]
    pub starts_at: Timestamp,
    #[serde(with = "rfc3339")]
    pub due_at: Timestamp,
    /// Who confirmed, and when.
    pub confirmed_by: String,
    #[serde(with = "rfc3339")]
    pub confirmed_at: Timestamp,
    pub state: ClockState,
}

impl Clock {
    /// Milliseconds that are left; negative after the term.
    pub fn left_ms(&self, now: Timestamp) -> i64 {
        self.due_at.since_ms(now)
    }
    pub fn is_running(&self) -> bool {
        self.state == ClockState::Running
    }
}

/// The clocks of a case, those that are due first in front. Without a confirmation there are none; a kind that was confirmed
/// again after a withdrawal runs from the later confirmation's stated time. A filing stops the clocks of its form that had
/// started before it; of the two terms of one form (Law 90/2024) the first filing stops the first, the second the other.
pub fn clocks(confirmations: &[Confirmation], filings: &[Filing], zone: &TimeZone) -> Vec<Clock> {
    let mut list: Vec<Clock> = Vec::new();
    for term in SHIPPED.iter() {
        for kind in &term.kinds {
            let Some(confirmation) = counting(confirmations, *kind) else { continue };
            let Some(due_at) = due(confirmation.known_since, term.amount, term.unit, zone) else { continue };
            let earlier =
                SHIPPED.iter().take_while(|t| t.id != term.id).filter(|t| t.form == term.form && t.kinds.contains(kind));
            let filing = filings.iter().filter(|f| f.form == term.form && f.at >= confirmation.at).nth(earlier.count());
            let state = match (&confirmation.withdrawn, filing) {
                (Some(back), _) => ClockState::Withdrawn { at: back.at, by: back.by.clone() },
                (None, Some(filing)) => ClockState::Filed { at: filing.at, by: filing.by.clone() },
                (None, None) => ClockState::Running,
            };
            list.push(Clock {
                id: if term.kinds.len() == 1 { term.id.clone() } else { format!("{}-{}", term.id, kind.as_str()) },
                kind: *kind,
                form: term.form,
                regime: term.regime.clone(),
                term: words(term.amount, term.unit),
                condition: term.condition.clone(),
                source: term.source.clone(),
                mark: term.mark,
                note: term.note.clone(),
                information: term.information,
                starts_at: confirmation.known_since,
                due_at,
                confirmed_by: confirmation.by.clone(),
                confirmed_at: confirmation.at,
                state,
            });
        }
    }
    list.sort_by(|a, b| (!a.is_running(), a.due_at, &a.id).cmp(&(!b.is_running(), b.due_at, &b.id)));
    list
}

/// The confirmation of a kind that counts: one that stands, the earliest knowledge first; else the last withdrawn one.
fn counting(confirmations: &[Confirmation], kind: Kind) -> Option<&Confirmation> {
    let own = || confirmations.iter().filter(|c| c.kind == kind);
    own().filter(|c| c.withdrawn.is_none()).min_by_key(|c| c.known_since).or_else(|| own().next_back())
}

/// The kinds of confirmation that a form is about.
pub(super) fn kinds(form: Form) -> Vec<Kind> {
    SHIPPED.iter().filter(|term| term.form == form).flat_map(|term| term.kinds.iter().copied()).collect()
}

/// `None` where no calendar holds the time.
fn due(from: Timestamp, amount: u16, unit: Unit, zone: &TimeZone) -> Option<Timestamp> {
    let start = jiff::Timestamp::from_millisecond(from.ms()).ok()?.to_zoned(zone.clone());
    let amount = i64::from(amount);
    let end = match unit {
        Unit::Hours => start.checked_add(Span::new().try_hours(amount).ok()?).ok()?,
        Unit::Days => start.checked_add(Span::new().try_days(amount).ok()?).ok()?,
        Unit::Months => start.checked_add(Span::new().try_months(amount).ok()?).ok()?,
        Unit::WorkDays => work_days(&start, amount)?,
    };
    Some(Timestamp::from_ms(end.timestamp().as_millisecond()))
}

/// The day of the start does not count.
fn work_days(start: &Zoned, amount: i64) -> Option<Zoned> {
    let (mut civil, mut left) = (start.datetime(), amount);
    while left > 0 {
        civil = civil.checked_add(Span::new().days(1)).ok()?;
        if !matches!(civil.weekday(), Weekday::Saturday | Weekday::Sunday) {
            left -= 1;
        }
    }
    civil.to_zoned(start.time_zone().clone()).ok()
}

fn words(amount: u16, unit: Unit) -> Text {
    let (en, it) = match (unit, amount) {
        (Unit::Hours, _) => ("hours", "ore"),
        (Unit::Days, _) => ("days", "giorni"),
        (Unit::Months, 1) => ("month", "mese"),
        (Unit::Months, _) => ("months", "mesi"),
        (Unit::WorkDays, _) => ("work days", "giorni lavorativi"),
    };
    Text { en: format!("{amount} {en}"), it: format!("{amount} {it}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dossier::Withdrawn;
    use proptest::prelude::*;

    fn rome() -> TimeZone {
        TimeZone::get("Europe/Rome").unwrap()
    }
    fn at(text: &str) -> Timestamp {
        let zoned: jiff::civil::DateTime = text.parse().unwrap();
        Timestamp::from_ms(zoned.to_zoned(rome()).unwrap().timestamp().as_millisecond())
    }
    fn local(at: Timestamp) -> String {
        jiff::Timestamp::from_millisecond(at.ms()).unwrap().to_zoned(rome()).strftime("%a %Y-%m-%d %H:%M %:z").to_string()
    }
    fn confirmed(kind: Kind, known_since: &str) -> Confirmation {
        let known_since = at(known_since);
        Confirmation { kind, at: known_since.plus_s(3600.0), known_since, by: "eng1".into(), withdrawn: None }
    }
    fn dues(kind: Kind, known_since: &str) -> Vec<String> {
        clocks(&[confirmed(kind, known_since)], &[], &rome()).iter().map(|c| local(c.due_at)).collect()
    }

    #[test]
    fn nothing_runs_before_a_person_has_confirmed() {
        assert_eq!(clocks(&[], &[], &rome()), []);
        let filed = Filing { form: Form::MinistryIt, at: at("2026-11-30T10:00"), by: "eng1".into(), reference: String::new() };
        assert_eq!(clocks(&[], &[filed], &rome()), []);
    }

    #[test]
    fn days_are_the_calendar_s_and_hours_are_exact() {
        assert_eq!(dues(Kind::SeriousIncident, "2026-11-30T10:15"), ["Thu 2026-12-10 10:15 +01:00"]);
        // Over the end of summer time: the same time of day, one hour more; 24 hours are 24 hours.
        assert_eq!(dues(Kind::SeriousIncident, "2026-10-20T10:15"), ["Fri 2026-10-30 10:15 +01:00"]);
        assert_eq!(
            dues(Kind::NisIs2, "2026-10-24T10:15"),
            ["Sun 2026-10-25 09:15 +01:00", "Tue 2026-10-27 09:15 +01:00", "Tue 2026-11-24 10:15 +01:00"]
        );
        // 02:30 of 29 March 2026 does not exist.
        assert_eq!(dues(Kind::SeriousIncident, "2026-03-19T02:30"), ["Sun 2026-03-29 03:30 +02:00"]);
        assert_eq!(dues(Kind::NonSeriousIncident, "2026-01-31T23:59"), ["Mon 2026-03-02 23:59 +01:00"]);
    }

    #[test]
    fn a_month_ends_where_the_calendar_has_a_day() {
        assert_eq!(dues(Kind::NisIs1, "2026-01-31T12:00")[2], "Sat 2026-02-28 12:00 +01:00");
        assert_eq!(dues(Kind::NisIs1, "2028-01-31T12:00")[2], "Tue 2028-02-29 12:00 +01:00");
        assert_eq!(dues(Kind::NisIs1, "2026-12-31T12:00")[2], "Sun 2027-01-31 12:00 +01:00");
    }

    #[test]
    fn work_days_leave_out_the_week_s_end_and_say_what_they_do_not_know() {
        assert_eq!(dues(Kind::UsUserFacility, "2026-11-30T10:00"), ["Mon 2026-12-14 10:00 +01:00"]);
        assert_eq!(dues(Kind::UsUserFacility, "2026-11-28T10:00"), ["Fri 2026-12-11 10:00 +01:00"], "known on a Saturday");
        let clock = &clocks(&[confirmed(Kind::UsUserFacility, "2026-11-30T10:00")], &[], &rome())[0];
        assert!(clock.information && clock.note.as_ref().unwrap().en.contains("holidays are not known"));
    }

    #[test]
    fn a_withdrawn_confirmation_stops_its_clocks_and_a_new_one_starts_them_again() {
        let mut first = confirmed(Kind::SeriousIncident, "2026-11-20T10:00");
        first.withdrawn = Some(Withdrawn { at: at("2026-11-21T10:00"), by: "eng2".into(), reason: "a test".into() });
        let stopped = clocks(&[first.clone()], &[], &rome());
        assert_eq!(stopped.len(), 1);
        assert_eq!(stopped[0].state, ClockState::Withdrawn { at: at("2026-11-21T10:00"), by: "eng2".into() });
        let again = confirmed(Kind::SeriousIncident, "2026-11-22T08:00");
        let running = clocks(&[first, again], &[], &rome());
        assert_eq!((running.len(), running[0].is_running(), running[0].starts_at), (1, true, at("2026-11-22T08:00")));
    }

    #[test]
    fn a_filing_stops_the_clock_of_its_form_alone() {
        let filed = |form, time: &str| Filing { form, at: at(time), by: "eng1".into(), reference: "7".into() };
        let nis = [confirmed(Kind::NisIs2, "2026-11-20T10:00")];
        let list = clocks(&nis, &[filed(Form::Nis2PreNotification, "2026-11-20T20:00")], &rome());
        assert_eq!(
            list.iter().map(|c| (c.form, c.is_running())).collect::<Vec<_>>(),
            [(Form::Nis2Notification, true), (Form::Nis2Final, true), (Form::Nis2PreNotification, false)]
        );
        let law = [confirmed(Kind::Law90, "2026-11-20T10:00")];
        let one = clocks(&law, &[filed(Form::Law90, "2026-11-20T20:00")], &rome());
        assert_eq!(
            one.iter().map(|c| (c.id.as_str(), c.is_running())).collect::<Vec<_>>(),
            [("law90-72h", true), ("law90-24h", false)]
        );
        let two = clocks(&law, &[filed(Form::Law90, "2026-11-20T20:00"), filed(Form::Law90, "2026-11-22T20:00")], &rome());
        assert!(two.iter().all(|c| !c.is_running()));
        let early = clocks(&law, &[filed(Form::Law90, "2026-11-19T20:00")], &rome());
        assert!(early.iter().all(Clock::is_running), "of another matter: it was filed before the confirmation");
    }

    #[test]
    fn every_clock_says_if_and_then_where_from_and_how_sure() {
        for kind in Kind::ALL {
            let list = clocks(&[confirmed(kind, "2026-11-20T10:00")], &[], &rome());
            assert!(!list.is_empty(), "{kind:?}");
            for clock in list {
                assert!(clock.condition.en.starts_with("If this is ") && clock.condition.en.contains(", then "), "{}", clock.id);
                assert!(
                    clock.condition.it.starts_with("Se si tratta di ") && clock.condition.it.contains(", allora "),
                    "{}",
                    clock.id
                );
                assert!(!clock.source.en.is_empty() && !clock.source.it.is_empty());
                assert_ne!(clock.mark, Mark::Official, "no term here was read in the official text");
            }
        }
    }

    #[test]
    fn a_file_of_terms_that_cannot_be_is_refused() {
        let bad = |from: &str, to: &str| {
            assert!(TERMS.contains(from), "{from}");
            read(&TERMS.replace(from, to)).unwrap_err()
        };
        assert!(bad("terms/1", "terms/2").contains("schema"));
        assert!(bad("amount = 30", "amount = 0").contains("it-non-serious-30d"));
        assert!(bad("kinds = [\"personal_data\"]", "kinds = [\"law90\"]").contains("personal_data"));
        assert!(bad("unit = \"work_days\"", "unit = \"holidays\"").contains("holidays"));
    }

    fn zones() -> impl Strategy<Value = TimeZone> {
        prop::sample::select(vec!["Europe/Rome", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"])
            .prop_map(|name| TimeZone::get(name).unwrap())
    }

    proptest! {
        #[test]
        fn terms_keep_the_calendar_s_laws(ms in 1_700_000_000_000_i64..2_200_000_000_000, zone in zones()) {
            let from = Timestamp::from_ms(ms);
            let start = jiff::Timestamp::from_millisecond(ms).unwrap().to_zoned(zone.clone());
            let back = |t: Timestamp| jiff::Timestamp::from_millisecond(t.ms()).unwrap().to_zoned(zone.clone());
            prop_assert_eq!(due(from, 24, Unit::Hours, &zone).unwrap().since_ms(from), 86_400_000);
            prop_assert_eq!(due(from, 72, Unit::Hours, &zone).unwrap().since_ms(from), 3 * 86_400_000);
            // Days: so many dates later, and never more than a change of the clocks away from so many times 24 hours.
            for days in [10_u16, 30] {
                let end = due(from, days, Unit::Days, &zone).unwrap();
                prop_assert_eq!(start.date().until(back(end).date()).unwrap().get_days(), i32::from(days));
                prop_assert!((end.since_ms(from) - i64::from(days) * 86_400_000).abs() <= 3_600_000);
            }
            // A month: the same day, or the last one of the month.
            let end = back(due(from, 1, Unit::Months, &zone).unwrap());
            prop_assert_eq!((end.month() + 10) % 12 + 1, start.month());
            prop_assert_eq!(end.day(), start.day().min(end.date().days_in_month()));
            // Work days: ends on one, and ten of them have passed.
            let end = back(due(from, 10, Unit::WorkDays, &zone).unwrap());
            let works = |d: jiff::civil::Date| !matches!(d.weekday(), Weekday::Saturday | Weekday::Sunday);
            prop_assert!(works(end.date()));
            let mut day = start.date();
            let mut passed = 0;
            while day < end.date() {
                day = day.tomorrow().unwrap();
                passed += i32::from(works(day));
            }
            prop_assert_eq!(passed, 10);
            // Later knowledge, later term.
            for (amount, unit) in [(10, Unit::Days), (1, Unit::Months), (10, Unit::WorkDays)] {
                let later = due(from.plus_ms(60_000), amount, unit, &zone).unwrap();
                let sooner = due(from, amount, unit, &zone).unwrap();
                // A time that comes twice, and one that is left out, may stand still or step back an hour.
                prop_assert!(later.since_ms(sooner) >= -3_600_000);
            }
        }

        #[test]
        fn any_time_and_any_confirmation_is_borne(ms in any::<i64>(), kind in prop::sample::select(Kind::ALL.to_vec())) {
            let one = Confirmation { kind, at: Timestamp::from_ms(ms), known_since: Timestamp::from_ms(ms), by: String::new(), withdrawn: None };
            for clock in clocks(&[one], &[], &rome()) {
                prop_assert!(clock.due_at > clock.starts_at);
            }
        }
    }
}
