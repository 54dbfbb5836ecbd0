//! Stories of one bed on two feeds: before and after something in their path.

use super::*;
use crate::config::{Compare, CompareBy, ComparePair, Renamed, Rounded};
use crate::vital::Parameter;

const DEVICE: &str = "GW^0012210000000001^EUI-64";

fn compared(change: impl FnOnce(&mut Compare)) -> Ward {
    let mut compare = Compare::of("gw1", "emr");
    change(&mut compare);
    Ward::with(Settings { site: "hsp1".into(), compare: [compare].into(), ..Settings::default() })
}

impl Ward {
    fn by(&mut self, feed: &str, bytes: &[u8]) {
        self.sequence += 1;
        let up = feed == "gw1";
        let source = Source {
            feed: feed.into(),
            peer: if up { "192.0.2.10" } else { "192.0.2.77" }.into(),
            connection: if up { 1 } else { 2 },
            ward: "main".into(),
            ..Source::default()
        };
        self.monitor.handle_frame(&source, self.sequence, bytes, self.now);
        self.drain();
    }

    /// A second of a bed: what the gateway sends, and 120 ms later what the engine makes of it (`None`: it sends nothing).
    fn second(&mut self, n: usize, engine: impl FnOnce(String) -> Option<String>) {
        let rows = self.living();
        let up = frame("A01", &format!("{}", 1000 + n), DEVICE, self.now, &rows);
        self.by("gw1", &up);
        self.now = self.now.plus_ms(120);
        let text = String::from_utf8(up).unwrap();
        let text = text.replacen("GW^0012210000000001^EUI-64|HOSP", "ENGINE|EMR", 1).replacen(
            &format!("|{}|P", 1000 + n),
            &format!("|E{n}|P"),
            1,
        );
        if let Some(down) = engine(text) {
            self.by("emr", down.as_bytes());
        }
        self.now = self.now.plus_ms(-120);
        self.wait(1.0);
    }

    fn p10(&self) -> Option<&crate::alert::Alert> {
        self.events.iter().rev().map(|e| &e.alert).find(|a| a.condition.starts_with("P10"))
    }
}

/// The row of a code with another value.
fn with_value(text: &str, code: &str, value: impl Fn(f64) -> String) -> String {
    let lines = text.split('\r').map(|line| {
        let mut fields: Vec<&str> = line.split('|').collect();
        if !(fields[0] == "OBX" && fields[3].starts_with(code)) {
            return line.to_owned();
        }
        let new = value(fields[5].parse().unwrap());
        fields[5] = &new;
        fields.join("|")
    });
    lines.collect::<Vec<_>>().join("\r")
}

const SPO2_CODE: &str = "150456";

#[test]
fn a_copy_is_no_second_sender_no_clone_no_resend_and_teaches_nothing() {
    let (mut two, mut one) = (compared(|_| ()), Ward::new());
    for n in 0..900 {
        two.second(n, Some);
        one.second(n, |_| None);
    }
    assert_eq!((two.told(), one.told()), (Vec::<String>::new(), Vec::new()));
    let state = |w: &Ward| {
        let bed = w.monitor.bed_id("icu", "A01").unwrap();
        let cell = &w.monitor.cells[bed.0 as usize];
        (cell.device.clone(), cell.feed.clone(), format!("{:?}", cell.bed.streams))
    };
    assert_eq!(state(&two), state(&one), "the bed knows what it knew of the gateway alone");
    let counts = two.monitor.feeds().find(|f| f.feed == "emr").unwrap();
    assert_eq!((counts.vitals, counts.marks["copy_agrees"], counts.duplicates), (900, 900, 0));
    // Without the configuration the same second feed is a second sender.
    let mut w = Ward::new();
    for n in 0..60 {
        w.second(n, Some);
    }
    assert!(w.raised("P02").is_some(), "{:?}", w.told());
}

#[test]
fn three_differences_in_ten_minutes_are_tampering_and_two_are_not() {
    for (altered, expected) in [(2, false), (3, true)] {
        let mut w = compared(|_| ());
        for n in 0..200 {
            let change = n >= 100 && n < 100 + 20 * altered && n % 20 == 0;
            w.second(n, |text| Some(if change { with_value(&text, SPO2_CODE, |v| (v - 15.0).to_string()) } else { text }));
        }
        assert_eq!(w.raised("P10").is_some(), expected, "{altered}");
    }
    let mut w = compared(|_| ());
    let mut slow = 0;
    for n in 0..1300 {
        let change = n % 301 == 300;
        slow += u32::from(change);
        w.second(n, |text| Some(if change { with_value(&text, SPO2_CODE, |v| (v - 15.0).to_string()) } else { text }));
    }
    assert_eq!((slow, w.p10()), (4, None), "one in five minutes is not three in ten");
}

#[test]
fn of_one_message_id_the_first_difference_counts_and_names_value_messages_and_side() {
    let mut w = compared(|_| ());
    for n in 0..100 {
        w.second(n, |text| Some(text.replacen(&format!("|E{n}|P"), &format!("|{}|P", 1000 + n), 1)));
    }
    assert_eq!(w.p10(), None);
    w.second(100, |text| Some(with_value(&text, SPO2_CODE, |_| "82".into()).replacen("|E100|P", "|1100|P", 1)));
    w.wait(30.0);
    let alert = w.p10().expect("told");
    assert_eq!((alert.assessment, alert.bed.as_str()), (Assessment::Tamper, "A01"));
    assert!(alert.text.en.starts_with("Two copies of the feed of bed A01 differ: ") && alert.text.en.contains(" and 82."));
    assert!(alert.text.it.starts_with("Due copie del flusso del letto A01 discordano: "), "{}", alert.text.it);
    let row = alert.evidence.iter().find(|e| e.check == "P10").unwrap();
    assert_eq!((row.class, row.raw.as_deref()), (crate::check::Class::CrossSource, Some("emr.202")));
    assert!(row.text.en.contains("upstream (gw1, message gw1.201), 82 downstream (emr, message emr.202)"), "{}", row.text.en);
    assert_eq!(row.value.map(|v| v.0), Some(82.0));
    assert!(row.limit.is_some_and(|v| v.0 > 90.0));
}

#[test]
fn what_the_engine_may_change_is_no_difference() {
    let fahrenheit = |text: &str| {
        let text = with_value(text, "150344", |v| format!("{:.0}", v * 1.8 + 32.0));
        text.replace("268192^MDC_DIM_DEGC^MDC", "266560^MDC_DIM_FAHR^MDC")
    };
    // The engine rounds HR to 5, leaves out RR and PR, writes HR as PR, cuts times to seconds and is an hour and two seconds late.
    let mut w = compared(|c| {
        c.rounded = vec![Rounded { parameter: Parameter::Hr, step: 5.0 }];
        c.dropped = vec![Parameter::Rr, Parameter::Pr];
        c.renamed = vec![Renamed { from: Parameter::Hr, to: Parameter::Pr }];
        c.time_shift_s = 3600.0;
    });
    for n in 0..400 {
        w.second(n, |text| {
            let text = with_value(&text, "147842", |v| ((v / 5.0).round() * 5.0).to_string());
            let left = |line: &&str| !line.contains("MDC_RESP_RATE") && !line.contains("MDC_PULS_OXIM_PULS_RATE");
            let text = text.split('\r').filter(left).collect::<Vec<_>>().join("\r");
            let text = text.replace(HR.split('|').next().unwrap(), PR.split('|').next().unwrap());
            let mut edit = crate::eval::attack::Edit::new(text.as_bytes());
            edit.move_times(true, true, |at| at.plus_s(3600.0));
            Some(fahrenheit(&String::from_utf8(edit.bytes()).unwrap()))
        });
    }
    assert_eq!(w.told().into_iter().filter(|t| t.contains("P10")).collect::<Vec<_>>(), Vec::<String>::new());
    let marks = &w.monitor.feeds().find(|f| f.feed == "emr").unwrap().marks;
    assert!(marks["copy_agrees"] >= 390 && !marks.contains_key("copy_differs"), "{marks:?}");
}

#[test]
fn a_value_that_only_the_copy_has_was_added_and_one_that_it_lacks_is_reported() {
    let mut w = compared(|_| ());
    for n in 0..300 {
        let forged = [150, 160, 170].contains(&n);
        w.second(n, |text| {
            let moved = |text: &str| {
                let mut edit = crate::eval::attack::Edit::new(text.as_bytes());
                edit.move_times(true, true, |at| at.plus_ms(500));
                String::from_utf8(edit.bytes()).unwrap()
            };
            // In place of the real message one of half a second later, with another saturation.
            Some(if forged { with_value(&moved(&text), SPO2_CODE, |_| "89".into()) } else { text })
        });
    }
    // Own times are compared by the second: the forged ones are the pair of the real ones.
    assert!(w.p10().is_some_and(|a| a.assessment == Assessment::Tamper), "{:?}", w.told());

    let mut w = compared(|c| c.time_step_s = 0.001);
    for n in 0..300 {
        let forged = [150, 160, 170].contains(&n);
        w.second(n, |text| {
            let mut all = text.clone();
            if forged {
                let mut edit = crate::eval::attack::Edit::new(text.as_bytes());
                edit.move_times(true, true, |at| at.plus_ms(-400));
                all = with_value(&String::from_utf8(edit.bytes()).unwrap(), SPO2_CODE, |_| "99".into());
            }
            Some(all)
        });
    }
    let alert = w.p10().expect("added");
    assert_eq!(alert.assessment, Assessment::Tamper);
    assert!(alert.text.en.contains("has a value that the monitor did not send"), "{}", alert.text.en);

    let mut w = compared(|_| ());
    for n in 0..200 {
        w.second(n, |text| {
            let lines = text.split('\r').filter(|line| !line.contains("MDC_PULS_OXIM_SAT_O2"));
            Some(lines.collect::<Vec<_>>().join("\r"))
        });
    }
    let alert = w.p10().expect("reported");
    assert_eq!((alert.assessment, alert.priority), (Assessment::Unverified, Priority::Info));
    assert!(alert.evidence[0].text.en.contains("does not arrive downstream (emr)"), "{}", alert.evidence[0].text.en);
}

#[test]
fn one_side_that_is_silent_is_silence_and_no_difference() {
    let mut w = compared(|_| ());
    for n in 0..600 {
        w.second(n, |text| (!(200..400).contains(&n)).then_some(text));
    }
    assert_eq!(w.told(), Vec::<String>::new(), "the copy was away");
    // The gateway stops and the engine goes on with what nobody sent.
    for n in 600..800 {
        let rows = w.living();
        let down = frame("A01", &format!("E{n}"), "ENGINE", w.now, &rows);
        w.by("emr", &down);
        w.wait(1.0);
    }
    assert!(w.raised("M03").is_some(), "a copy is no sign of life of the monitor");
    assert_eq!(w.p10(), None);
}

#[test]
fn a_copy_is_paired_by_device_and_by_id_where_the_engine_keeps_nothing_else() {
    let run = |by, pair, keep_id: bool| {
        let tamper = |a: &crate::alert::Alert| a.assessment == Assessment::Tamper;
        let mut w = compared(|c| (c.bed, c.pair) = (by, pair));
        for n in 0..150 {
            w.second(n, |text| {
                let mut edit = crate::eval::attack::Edit::new(text.as_bytes());
                edit.set("PV1", 3, |_| "UNIT 4^^ROOM 9".into());
                edit.set("MSH", 3, |_| DEVICE.into());
                if pair == ComparePair::Id {
                    edit.move_times(true, true, |at| at.plus_s(977.0));
                }
                if keep_id {
                    edit.set("MSH", 10, |_| format!("{}", 1000 + n));
                }
                let text = String::from_utf8(edit.bytes()).unwrap();
                Some(if n >= 120 { with_value(&text, SPO2_CODE, |_| "70".into()) } else { text })
            });
        }
        (w.p10().is_some_and(tamper), w.monitor.beds().filter(|b| !b.reserved).count())
    };
    assert_eq!(run(CompareBy::Device, ComparePair::Time, false), (true, 1));
    assert_eq!(run(CompareBy::Device, ComparePair::Id, true), (true, 1));
    assert_eq!(run(CompareBy::Device, ComparePair::Id, false), (false, 1), "nothing joins them");
    assert_eq!(run(CompareBy::Place, ComparePair::Time, false), (false, 1), "an unknown place opens no bed");
}

#[test]
fn two_feeds_of_which_no_value_meets_its_other_are_reported_and_accuse_nobody() {
    let mut w = compared(|_| ());
    for n in 0..400 {
        w.second(n, |text| {
            let mut edit = crate::eval::attack::Edit::new(text.as_bytes());
            edit.move_times(true, true, |at| at.plus_s(-7200.0));
            Some(String::from_utf8(edit.bytes()).unwrap())
        });
    }
    let alert = w.p10().expect("a comparison that compares nothing is told");
    assert_eq!((alert.assessment, alert.priority), (Assessment::Unverified, Priority::Info));
    assert!(alert.evidence[0].text.en.contains("no value of both is one measurement"), "{}", alert.evidence[0].text.en);
}

#[test]
fn it_is_over_a_while_after_the_last_difference_and_a_restart_in_between_changes_nothing() {
    let play = |restart_at: Option<usize>| {
        let mut w = compared(|_| ());
        for n in 0..700 {
            if Some(n) == restart_at {
                let snapshot = w.monitor.snapshot();
                w.monitor = Monitor::restore(w.monitor.house.settings.clone(), &snapshot).unwrap();
            }
            let forged = (100..110).contains(&n);
            w.second(n, |text| Some(if forged { with_value(&text, SPO2_CODE, |_| "70".into()) } else { text }));
        }
        w
    };
    let whole = play(None);
    for at in [103, 150, 400] {
        let w = play(Some(at));
        assert_eq!(w.lines, whole.lines, "restart at {at}");
        assert_eq!(w.monitor.snapshot(), whole.monitor.snapshot());
    }
    let ended = whole.events.iter().rev().find(|e| e.alert.condition.starts_with("P10")).unwrap();
    assert!(ended.alert.ended.is_some() || ended.alert.state == AlertState::Cleared, "{:?}", ended.alert.state);
}

#[test]
fn a_closed_list_holds_for_copies_too() {
    let senders = crate::config::Senders {
        closed: true,
        sender: vec![crate::config::SenderRule { feed: Some("gw1".into()), ..Default::default() }],
    };
    let compare = [Compare::of("gw1", "emr")].into();
    let mut w = Ward::with(Settings { site: "hsp1".into(), compare, senders, ..Settings::default() });
    for n in 0..60 {
        w.second(n, Some);
    }
    assert!(w.raised("P03").is_some());
}
