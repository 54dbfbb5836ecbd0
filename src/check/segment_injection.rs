use super::{Judge, Verdict, Verdicts, View, id};
use crate::observation::{MessageFlags, MessageKind};
use crate::vital::ParamSet;

declare_check! {
    /// ## What it does
    /// Looks for a message that is built in a way that can hide or add values: a second message header at a line start, a second
    /// patient or place, segments in an order that this sender does not have.
    /// ## Why it matters
    /// A line break smuggled through a text field becomes a segment of its own: values that no monitor measured.
    /// ## How it decides
    /// One message is enough. A batch is taken apart first, and each of its messages judged alone. A second PID or PV1 in an
    /// admission message, line feeds in text, blank or unnamed lines, notes, Z segments and stray delimiters are marked by the reader and
    /// are no verdict.
    /// ## Known false alerts
    /// A careless vendor.
    /// ## References
    /// CVE-2020-27260 (segment injection through data fields); HL7 v2 chapter 2.
    "C07" "segment_injection" class=Provenance evidence=true weights=(10, 0, 90) rest=Unverified
    {
    }
}

impl Judge for Check {
    type State = ();

    fn judge(&self, _: &mut (), view: &View<'_>, out: &mut Verdicts) {
        let Some(report) = view.report else { return };
        let mut wrong = report.flags.0 & MessageFlags::SECOND_MSH;
        if report.kind != MessageKind::Adt {
            wrong |= report.flags.0 & (MessageFlags::SECOND_PID | MessageFlags::SECOND_PV1 | MessageFlags::SEGMENT_ORDER);
        }
        if wrong == 0 {
            out.pass(id::segment_injection);
            return;
        }
        let text = match wrong {
            w if w & MessageFlags::SECOND_MSH != 0 => "second_msh",
            w if w & MessageFlags::SECOND_PID != 0 => "second_pid",
            w if w & MessageFlags::SECOND_PV1 != 0 => "second_pv1",
            _ => "order",
        };
        out.push(Verdict {
            hard: true,
            log10_e: 4.0,
            value: Some(f64::from(wrong.count_ones())),
            limit: Some(0.0),
            unit: "{faults}",
            text,
            args: [view.bed_arg()].into_iter().collect(),
            ..Verdict::new(id::segment_injection, ParamSet::EMPTY, view.now)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::story::Story;

    fn flag(kind: MessageKind, flags: u64) -> char {
        let mut s = Story::<Check>::of(&[]);
        let mut report = s.report(vec![]);
        report.kind = kind;
        report.flags.set(flags);
        s.send(&report)
    }

    #[test]
    fn a_second_header_patient_or_a_foreign_order_is_found_in_the_first_message() {
        assert_eq!(flag(MessageKind::Vitals, MessageFlags::SECOND_MSH), 'F');
        assert_eq!(flag(MessageKind::Vitals, MessageFlags::SECOND_PID), 'F');
        assert_eq!(flag(MessageKind::Vitals, MessageFlags::SECOND_PV1), 'F');
        assert_eq!(flag(MessageKind::Alarm, MessageFlags::SEGMENT_ORDER), 'F');
    }

    #[test]
    fn link_messages_and_careless_text_are_none() {
        assert_eq!(flag(MessageKind::Adt, MessageFlags::SECOND_PID), 'P');
        assert_eq!(flag(MessageKind::Vitals, MessageFlags::BLANK_LINE | MessageFlags::TEXT_CONTINUED | MessageFlags::DELIMITERS), 'P');
    }
}
