//! The senders' clocks at work: each message's time is read before its bed judges it, and what a sender's clock does is told
//! once, at the installation (`_site`), however many beds it speaks for. A sender of one bed alone is told of by that bed's P05.

use super::*;
use crate::clockwork::{self, From, NEWS_S, News, Pace, Reading, StepKind};
use crate::observation::ObsFlags;

/// The site's zone and every zone that a listener or a sender is known to write in: on which dates clocks are set.
pub(super) fn zones(settings: &Settings) -> Vec<jiff::tz::TimeZone> {
    let base = jiff::tz::TimeZoneDatabase::bundled();
    let of_senders = settings.senders.sender.iter().filter_map(|rule| rule.zone.as_deref());
    let mut zones: Vec<jiff::tz::TimeZone> = Vec::new();
    let told = settings.zones.iter().map(String::as_str).chain(of_senders);
    for zone in std::iter::once(settings.zone.as_str()).chain(told).filter_map(|name| base.get(name).ok()) {
        if !zones.contains(&zone) {
            zones.push(zone);
        }
    }
    zones
}

/// Notices about senders' clocks that stand at the installation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ClockNotice {
    /// Until when steps are news; `None`: nothing stands there.
    until: Option<Timestamp>,
}

impl Monitor {
    /// Reads the time of a bed's message.
    pub(super) fn clock(&mut self, number: u32, source: &Source, sender: u64, report: &Report, at: Timestamp) -> Reading {
        let device = Arc::clone(&self.device_name);
        let cell = &mut self.cells[number as usize];
        let from = From { sender, device: &device, bed: number };
        let (zones, limits) = (&self.zones, self.house.settings.checks.clock_shift.limits());
        let (reading, news) =
            self.clocks.hear(from, &mut cell.hands, report, at, limits, |at| clockwork::changes_near(zones, at));
        match reading.pace {
            Pace::Late => self.feed(&source.feed).mark("late"),
            Pace::Backlog => self.feed(&source.feed).mark("store_and_forward"),
            _ => {}
        }
        if let Some(news) = news {
            self.clock_news(news, source, sender, report, at);
        }
        reading
    }

    fn clock_news(&mut self, news: News, source: &Source, sender: u64, report: &Report, at: Timestamp) {
        let Some(clock) = self.clocks.of_sender(sender) else { return };
        let shared = clock.shared;
        match news {
            News::Step(step) => {
                self.feed(&source.feed).mark(step.kind.as_str());
                self.skew_event(step.from_ms, step.to_ms, at);
                if shared || step.kind == StepKind::Zone {
                    self.tell_of_clock(step.kind, step.to_ms - step.from_ms, step.to_ms, report, at);
                }
            }
            News::Zone(skew_ms) => {
                self.skew_event(0, skew_ms, at);
                self.feed(&source.feed).mark(StepKind::Zone.as_str());
                self.tell_of_clock(StepKind::Zone, skew_ms, skew_ms, report, at);
            }
            News::ZoneOver => self.clock_notice_ends(at),
        }
    }

    /// The inventory is told where the clock of a device stands now.
    fn skew_event(&mut self, from_ms: i64, to_ms: i64, at: Timestamp) {
        if let Some(place) = self.inventory.find(&self.device_name) {
            let (from, to) = (from_ms.to_string(), to_ms.to_string());
            self.say_device(place, DeviceEventKind::Skew, None, Some((Some(from), Some(to))), at);
        }
    }

    /// One notice at the installation. `by_ms`: how far the clock moved, or stands off; `skew_ms`: where it stands.
    fn tell_of_clock(&mut self, kind: StepKind, by_ms: i64, skew_ms: i64, report: &Report, at: Timestamp) {
        let Some(check) = CheckId::from_id("P05") else { return };
        // What a sender writes without offset was read in the site's zone: then the zone it means can be named.
        let assumed = report.observations.iter().any(|o| o.flags.has(ObsFlags::ZONE_ASSUMED));
        let site_ms =
            jiff::Timestamp::from_millisecond(at.ms()).map_or(0, |at| i64::from(self.house.zone.to_offset(at).seconds()) * 1000);
        let offset = |ms: i64| {
            let minutes = (ms as f64 / 60_000.0).round() as i64;
            format!("{}{:02}:{:02}", if minutes < 0 { '-' } else { '+' }, minutes.abs() / 60, minutes.abs() % 60)
        };
        let text = match kind {
            StepKind::Zone if assumed => "zone_mismatch",
            StepKind::Zone => "zone_stated",
            StepKind::Dst => "dst_step",
            StepKind::Clock => "clock_step",
        };
        let zone = if assumed { offset(site_ms + skew_ms) } else { offset(skew_ms) };
        let verdict = Verdict {
            log10_e: 0.0,
            priority: Some(if kind == StepKind::Clock { Priority::Low } else { Priority::Info }),
            value: Some(by_ms.abs() as f64 / 1000.0),
            limit: Some(self.house.settings.checks.clock_shift.off_s),
            unit: "s",
            text,
            args: [
                ("n", Arg::Number(by_ms.abs() as f64 / 1000.0, 0)),
                ("d", Arg::Number(by_ms as f64 / 1000.0, 0)),
                ("sender", Arg::Text(self.device_name.to_string())),
                ("zone", Arg::Text(zone)),
                ("bed", Arg::Text("-".to_owned())),
            ]
            .into_iter()
            .collect(),
            ..Verdict::new(check, ParamSet::EMPTY, at)
        };
        let place = self.reserved(SITE, SITE, at);
        self.clock_notice.until = Some(at.plus_s(NEWS_S));
        self.inject(place, verdict, at);
    }

    /// Whether a notice is over is asked with every moment of a bed, too: its sender may be silent.
    pub(super) fn look_at_clock_notice(&mut self, at: Timestamp) {
        if self.clock_notice.until.is_some_and(|until| at >= until) {
            self.clock_notice_ends(at);
        }
    }

    /// Nothing of a clock is news any more, unless some sender still stands in another zone.
    fn clock_notice_ends(&mut self, at: Timestamp) {
        let news = self.clock_notice.until.is_some_and(|until| at < until);
        if news || self.clocks.zones_stand(at) {
            self.clock_notice.until = self.clock_notice.until.map(|until| until.max(at.plus_s(NEWS_S)));
            return;
        }
        self.clock_notice.until = None;
        if let Some(check) = CheckId::from_id("P05") {
            let place = self.reserved(SITE, SITE, at);
            self.inject_pass(place, check, at);
        }
    }

    /// Where the clock of a device (`dev-…`) stands: sender minus us, median, milliseconds; `None` while nothing is known.
    pub fn skew_ms(&self, device: &str) -> Option<i64> {
        self.clocks.of_device(device)?.skew_ms()
    }
}
