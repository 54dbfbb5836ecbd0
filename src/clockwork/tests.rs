use super::*;
use crate::check::story::observation;
use crate::vital::Parameter;

const LIMITS: Limits = Limits { off_ms: 10_000, messages: 3 };
const T0: Timestamp = Timestamp(1_800_000_000_000);

/// A gateway with beds, told in seconds.
struct Gateway {
    clocks: Clocks,
    hands: Vec<Hands>,
    now: Timestamp,
    zones: Vec<jiff::tz::TimeZone>,
    news: Vec<News>,
}

impl Gateway {
    fn new(beds: usize) -> Gateway {
        let zones = vec![jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()];
        Gateway { clocks: Clocks::default(), hands: vec![Hands::default(); beds], now: T0, zones, news: Vec::new() }
    }

    /// A message of a bed whose own time lies so long before its receipt.
    fn hear(&mut self, bed: usize, latency_s: f64) -> Pace {
        let own = self.now.plus_s(-latency_s);
        let report = Report {
            kind: MessageKind::Vitals,
            sent_at: Some(own),
            observations: vec![observation(Parameter::Hr, 72.0, own)],
            ..Report::default()
        };
        let from = From { sender: 7, device: "dev-0000000a", bed: bed as u32 };
        let zones = &self.zones;
        let changes = |at| changes_near(zones, at);
        let (reading, news) = self.clocks.hear(from, &mut self.hands[bed], &report, self.now, LIMITS, changes);
        self.news.extend(news);
        reading.pace
    }

    /// Every bed once a second.
    fn run(&mut self, latency_s: f64, seconds: usize) -> Vec<Pace> {
        let mut paces = Vec::new();
        for _ in 0..seconds {
            self.now = self.now.plus_s(1.0);
            for bed in 0..self.hands.len() {
                paces.push(self.hear(bed, latency_s));
            }
        }
        paces
    }

    fn steps(&self) -> Vec<(StepKind, i64)> {
        let step = |news: &News| match news {
            News::Step(step) => Some((step.kind, step.to_ms - step.from_ms)),
            _ => None,
        };
        self.news.iter().filter_map(step).collect()
    }
}

#[test]
fn a_step_of_the_gateway_is_one_step_and_every_bed_follows_it() {
    let mut g = Gateway::new(12);
    g.run(0.4, 120);
    let paces = g.run(40.4, 60);
    assert_eq!(g.steps(), [(StepKind::Clock, -40_000)]);
    assert!(paces[12 * 8..].iter().all(|p| *p == Pace::Live), "after eight seconds all of them are live");
    assert_eq!(g.clocks.of_device("dev-0000000a").unwrap().skew_ms(), Some(-40_400));
    g.run(0.4, 60);
    assert_eq!(g.steps().len(), 2, "and back");
}

#[test]
fn one_bed_that_moves_alone_is_no_step_of_the_gateway() {
    let mut g = Gateway::new(3);
    g.run(0.4, 60);
    let mut off = 0;
    for _ in 0..60 {
        g.now = g.now.plus_s(1.0);
        g.hear(0, 0.4);
        g.hear(1, 0.4);
        off += u32::from(g.hear(2, 95.0) == Pace::Off);
    }
    assert_eq!((g.steps(), off), (vec![], 58));
}

#[test]
fn an_hour_on_the_day_of_a_change_is_summer_time_and_on_any_other_day_a_zone() {
    // 2027-03-28 01:00 UTC.
    let change = Timestamp::from_civil(2027, 3, 28, 1, 0, 0, 0).unwrap();
    for (days, kind) in [(0, StepKind::Dst), (-40, StepKind::Zone)] {
        let mut g = Gateway::new(2);
        g.now = change.plus_s(f64::from(days) * 86_400.0 - 300.0);
        g.run(0.4, 300);
        g.run(3600.4, 300);
        assert_eq!(g.steps(), [(kind, -3_600_000)]);
        let zone = g.news.iter().any(|n| matches!(n, News::Zone(_)));
        assert!(!zone, "the step was told, the stand it led to is not told again");
    }
    let mut g = Gateway::new(2);
    g.now = change;
    g.run(0.4, 300);
    g.run(3500.0, 300);
    assert_eq!(g.steps(), [(StepKind::Clock, -3_499_600)], "an hour is an hour");
}

#[test]
fn a_constant_quarter_of_an_hour_is_one_notice_and_anything_else_none() {
    for (latency_s, zone) in [(-7199.5, Some(7_200_000)), (20_700.2, Some(-20_700_000)), (5400.0 - 40.0, None), (0.5, None)] {
        let mut g = Gateway::new(2);
        g.run(latency_s, 600);
        let zones: Vec<_> = g.news.iter().collect();
        assert_eq!(zones, zone.map(News::Zone).iter().collect::<Vec<_>>(), "{latency_s}");
    }
    let mut g = Gateway::new(2);
    g.run(-7199.5, 100);
    g.run(0.5, 100);
    assert_eq!(g.news.last(), Some(&News::ZoneOver));
}

#[test]
fn the_backlogs_of_many_beds_after_an_outage_are_no_step_and_not_live() {
    let mut g = Gateway::new(20);
    g.run(0.4, 120);
    let start = g.now;
    g.now = g.now.plus_s(1800.0);
    let mut live = 0;
    for second in 1..1800 {
        for bed in 0..20 {
            g.now = g.now.plus_ms(1);
            let latency_s = g.now.since_s(start.plus_s(f64::from(second)));
            if latency_s > 11.0 {
                live += u32::from(!matches!(g.hear(bed, latency_s), Pace::Backlog | Pace::Undecided));
            }
        }
    }
    assert_eq!((live, g.steps()), (0, vec![]));
    assert!(g.run(0.4, 10).iter().all(|p| *p == Pace::Live));
}

#[test]
fn a_second_device_behind_one_sender_has_its_own_clock() {
    let mut g = Gateway::new(1);
    let mut live = 0;
    for n in 0..300 {
        g.now = g.now.plus_s(1.0);
        g.hear(0, 0.4);
        live += u32::from(g.hear(0, 45.0) == Pace::Live && n > 30);
    }
    assert!(live > 260, "{live}: it is live once it is known");
    assert_eq!(g.steps(), []);
}

#[test]
fn thousands_of_senders_are_bounded() {
    let mut clocks = Clocks::default();
    let report = Report { kind: MessageKind::Vitals, sent_at: Some(T0), ..Report::default() };
    for sender in 0..10_000 {
        let from = From { sender, device: "dev", bed: 0 };
        clocks.hear(from, &mut Hands::default(), &report, T0.plus_ms(sender as i64), LIMITS, |_| false);
    }
    assert_eq!(clocks.iter().count(), SENDERS_MAX);
    assert!(clocks.of_sender(9_999).is_some() && clocks.of_sender(0).is_none());
}

#[test]
fn clocks_and_hands_survive_a_snapshot_and_are_small() {
    let mut g = Gateway::new(3);
    g.run(0.4, 700);
    let bytes = postcard::to_stdvec(&(&g.clocks, &g.hands)).unwrap();
    let again: (Clocks, Vec<Hands>) = postcard::from_bytes(&bytes).unwrap();
    assert!(again.0 == g.clocks && again.1 == g.hands);
    assert!(size_of::<Hand>() <= 400 && size_of::<Clock>() <= 800, "{} {}", size_of::<Hand>(), size_of::<Clock>());
}
