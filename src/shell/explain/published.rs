//! An alert derived again beside the same alert as it was published.

use super::Step;
use crate::alert::{AlertEvent, Envelope};
use crate::shell::store::AlertReader;
use crate::time::Timestamp;
use std::path::Path;

/// How what was derived stands to what was published.
pub(super) enum Published {
    /// Nothing is kept of it here.
    Unknown,
    /// So many events, and so many later ones that were not derived.
    Same(usize, usize),
    /// The first event that differs, and how.
    Differs(String),
}

impl Published {
    pub(super) fn word(&self) -> String {
        match self {
            Published::Unknown => "not kept here".into(),
            Published::Same(events, 0) => format!("{events} events, the same"),
            Published::Same(events, later) => {
                format!("{events} events, the same; {later} later ones not derived again (--to-end)")
            }
            Published::Differs(how) => how.clone(),
        }
    }
}

/// The events of an alert as they were published, each with its envelope.
pub(super) struct Kept(Vec<(AlertEvent, Envelope)>);

impl Kept {
    /// None where the store, or the alert in it, is not there.
    pub(super) fn read(store: &Path, id: &str) -> Kept {
        let kept = AlertReader::open(store).ok().and_then(|reader| reader.events(id).ok()).unwrap_or_default();
        let texts = kept.iter().filter_map(|json| std::str::from_utf8(json).ok());
        Kept(texts.filter_map(|text| AlertEvent::from_json(text).ok()).collect())
    }
    /// The last one up to a moment.
    pub(super) fn last_until(&self, until: Timestamp) -> Option<u64> {
        self.0.iter().filter(|(event, _)| event.ts <= until).map(|(event, _)| event.seq).max()
    }
    pub(super) fn compare(&self, steps: &[Step]) -> Published {
        let mut same = 0;
        for (event, envelope) in &self.0 {
            let Some(step) = steps.iter().find(|step| step.event.seq == event.seq) else {
                // The journal ends, or was pruned, before it.
                continue;
            };
            if as_published(&step.event, envelope).as_ref() != Some(event) {
                let now = step.event.alert.confidence.0;
                return Published::Differs(format!(
                    "event {} differs: published {} at confidence {} by model {}, derived {} at {now} by model {}",
                    event.seq,
                    event.event.as_str(),
                    event.alert.confidence.0,
                    event.alert.model,
                    step.event.event.as_str(),
                    step.event.alert.model
                ));
            }
            same += 1;
        }
        let derived = steps.iter().map(|step| step.event.seq).max().unwrap_or(0);
        let later = self.0.iter().filter(|(event, _)| event.seq > derived).count();
        if same == 0 { Published::Unknown } else { Published::Same(same, later) }
    }
}

/// The same event as a document says it: numbers are rounded there.
fn as_published(event: &AlertEvent, envelope: &Envelope) -> Option<AlertEvent> {
    AlertEvent::from_json(&event.to_json(envelope)).ok().map(|(event, _)| event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Number;
    use crate::monitor::{Monitor, Output, Settings};
    use crate::observation::Source;

    /// The first event of an alert: one id, two contents.
    fn raised() -> AlertEvent {
        let mut monitor = Monitor::new(Settings::default());
        let source = Source { feed: "gw".into(), ward: "icu".into(), connection: 1, ..Source::default() };
        let at = Timestamp::from_ms(1_800_007_200_000);
        for value in [72, 140] {
            let time = at.hl7();
            let frame = format!(
                "MSH|^~\\&|GW|H|||{time}||ORU^R01^ORU_R01|7|P|2.6\rPID|||P1^^^H^MR\rPV1||I|ICU^^B1\rOBR|1|||VITALS|||{time}\r\
                 OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.1.1.1|{value}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F|||{time}\r"
            );
            monitor.handle_frame(&source, 1, frame.as_bytes(), at);
        }
        std::iter::from_fn(|| monitor.poll_output())
            .find_map(|output| if let Output::Alert(event) = output { Some(*event) } else { None })
            .expect("an alert")
    }

    #[test]
    fn a_number_that_a_document_rounds_is_no_difference() {
        let mut event = raised();
        event.alert.evidence[0].value = Some(Number(11.0 / 12.0));
        let envelope = Envelope { site: "hsp1".into(), boot: "b".into(), replay: None, href: false };
        let (kept, _) = AlertEvent::from_json(&event.to_json(&envelope)).expect("a document");
        assert_ne!(kept, event);
        assert_eq!(as_published(&event, &envelope), Some(kept));
    }
}
