//! A form filled from facts, as JSON and CSV; [`super::page`] writes it as HTML.

use super::catalogue::{Entry, Field, FormDef, Speaker};
use super::clock::{Clock, ClockState, clocks, kinds};
use super::proposal::{Proposal, proposals};
use super::words::{self as say, COMPLETE, FILED_BY, NOTICE, VERIFY};
use super::{FACTS_PER_FIELD_MAX, Fact, FactSource, Facts, Form, Head, Language, VALUE_CHARS_MAX, field, form as described};
use crate::advisory::Level;
use crate::alert::Text;
use crate::text::NOT_FOR_PRIMARY;
use crate::time::Timestamp;
use serde_json::{Value, json};

/// Schema of the JSON form.
pub const SCHEMA: &str = "draft/1";

/// A form with what is known, and the places of what is not.
#[derive(Debug, Clone)]
pub struct Draft {
    pub form: Form,
    pub language: Language,
    pub head: Head,
    pub sections: Vec<(Text, Vec<Row>)>,
    /// Only where the form asks for the kind of incident.
    pub proposals: Vec<Proposal>,
    /// Those of this form.
    pub clocks: Vec<Clock>,
}

/// One field.
#[derive(Debug, Clone)]
pub struct Row {
    pub field: &'static Field,
    /// Empty: not known.
    pub values: Vec<Fact>,
    /// Values beyond [`FACTS_PER_FIELD_MAX`].
    pub more: usize,
}

/// Fills a form. A fact counts only if its source may speak for the field ([`Field::from`]): a product's name from a person or
/// from an advisory that names it exactly, whatever the feed says. Nothing is derived from anything else.
pub fn fill(form: Form, language: Language, facts: &Facts, head: &Head) -> Draft {
    let def = described(form);
    let row = |key: &String| {
        let field = field(key).expect("the catalogue has been read with every field of its forms");
        let found: Vec<Fact> = if key == "event.known_since" {
            // What was stated when it was confirmed, and nothing else.
            let own = head.confirmations.iter().filter(|c| c.withdrawn.is_none() && kinds(form).contains(&c.kind));
            let said = |c: &super::Confirmation| FactSource::Operator { user: c.by.clone(), at: c.at };
            own.map(|c| Fact { value: c.known_since.to_string(), source: said(c) }).collect()
        } else {
            facts.get(key).into_iter().flatten().filter(|fact| speaks(field, &fact.source)).cloned().collect()
        };
        let (mut values, mut more): (Vec<Fact>, usize) = (Vec::new(), 0);
        for fact in found {
            let fact = Fact { value: cut(&fact.value), source: fact.source };
            if fact.value.trim().is_empty() || values.contains(&fact) {
                continue;
            }
            if values.len() < FACTS_PER_FIELD_MAX {
                values.push(fact);
            } else {
                more += 1;
            }
        }
        Row { field, values, more }
    };
    let sections = def.sections.iter().map(|s| (s.title.clone(), s.fields.iter().map(row).collect())).collect();
    let mut clocks = clocks(&head.confirmations, &head.filings, &head.zone);
    clocks.retain(|clock| clock.form == form);
    let mut draft = Draft { form, language, head: head.clone(), sections, proposals: Vec::new(), clocks };
    if draft.is_cyber() {
        draft.proposals = proposals(&head.seen);
    }
    draft
}

fn speaks(field: &Field, source: &FactSource) -> bool {
    let speaker = match source {
        FactSource::Feed { .. } => Speaker::Feed,
        FactSource::Journal { .. } => Speaker::Journal,
        FactSource::Operator { .. } => Speaker::Operator,
        FactSource::Advisory { level: Level::Exact, .. } => Speaker::Exact,
        FactSource::Advisory { .. } => return false,
        FactSource::Alert { .. } => Speaker::Alert,
        FactSource::Program => Speaker::Program,
    };
    field.from.contains(&speaker)
}

/// At most so much of a value, and a word that it was more.
fn cut(value: &str) -> String {
    let Some((at, _)) = value.char_indices().nth(VALUE_CHARS_MAX) else { return value.to_owned() };
    format!("{} […+{}]", &value[..at], value[at..].chars().count())
}

impl Draft {
    /// Whether the form asks for a kind of significant incident.
    pub(super) fn is_cyber(&self) -> bool {
        matches!(self.form, Form::Nis2PreNotification | Form::Nis2Notification | Form::Nis2Final | Form::Law90)
    }
    pub fn def(&self) -> &'static FormDef {
        described(self.form)
    }
    pub(super) fn pick<'t>(&self, text: &'t Text) -> &'t str {
        match self.language {
            Language::En => &text.en,
            Language::It => &text.it,
        }
    }
    /// The header of every output.
    pub fn notice(&self) -> &'static str {
        NOTICE.of(self.language)
    }
    /// The literal of a field that is not known.
    pub fn unknown(&self) -> &'static str {
        COMPLETE.of(self.language)
    }
    /// The field's name; the Italian form's names stay Italian, with the English in brackets for an English reader.
    pub(super) fn label(&self, field: &Field) -> String {
        match (self.language, self.form) {
            (Language::It, _) => field.label.it.clone(),
            (Language::En, Form::MinistryIt) if field.label.it != field.label.en => {
                format!("{} ({})", field.label.it, field.label.en)
            }
            (Language::En, _) => field.label.en.clone(),
        }
    }
    /// A time of the site, with its offset.
    pub(super) fn time(&self, at: Timestamp) -> String {
        let Ok(instant) = jiff::Timestamp::from_millisecond(at.ms()) else { return at.to_string() };
        instant.to_zoned(self.head.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
    }
    /// A value for people: answers in the language of the page, times in the site's zone.
    pub(super) fn shown(&self, field: &Field, fact: &Fact) -> String {
        let value = fact.value.as_str();
        match field.entry {
            Entry::YesNo if value == "yes" => say::YES.of(self.language).into(),
            Entry::YesNo if value == "no" => say::NO.of(self.language).into(),
            Entry::Choice => match field.choices.iter().find(|c| c.id == value) {
                Some(choice) if self.language == Language::It => choice.it.clone(),
                Some(choice) => choice.en.clone(),
                None => value.into(),
            },
            Entry::Time => match value.parse::<jiff::Timestamp>() {
                Ok(at) => self.time(Timestamp::from_ms(at.as_millisecond())),
                Err(_) => value.into(),
            },
            _ => value.into(),
        }
    }
    /// Who says so, for people.
    pub(super) fn source(&self, source: &FactSource) -> String {
        let of = |words: &crate::text::Words| words.of(self.language);
        match source {
            FactSource::Feed { raw } => format!("{} {raw}", of(&say::FEED)),
            FactSource::Journal { reference } => format!("{} {reference}", of(&say::JOURNAL)),
            FactSource::Operator { user, at } => format!("{} {user}, {}", of(&say::OPERATOR), self.time(*at)),
            FactSource::Advisory { id, level, matched } => {
                format!("{} {id} ({}), {} \"{matched}\"", of(&say::ADVISORY), level.as_str(), of(&say::MATCHED))
            }
            FactSource::Alert { id } => format!("{} {id}", of(&say::ALERT)),
            FactSource::Program => of(&say::PROGRAM).into(),
        }
    }
    /// `running`, `withdrawn by …`, `filed by …`.
    pub(super) fn clock_state(&self, clock: &Clock) -> String {
        match &clock.state {
            ClockState::Running if clock.information => say::INFORMATION.of(self.language).into(),
            ClockState::Running => say::RUNNING.of(self.language).into(),
            ClockState::Withdrawn { at, by } => format!("{} {by}, {}", say::WITHDRAWN.of(self.language), self.time(*at)),
            ClockState::Filed { at, by } => format!("{} {by}, {}", say::FILED.of(self.language), self.time(*at)),
        }
    }

    /// The draft as a document.
    pub fn json(&self) -> Value {
        let def = self.def();
        let row = |row: &Row| {
            let mut field = json!({ "key": row.field.key, "label": self.label(row.field), "known": !row.values.is_empty() });
            if row.values.is_empty() {
                field["value"] = json!(self.unknown());
            } else {
                let value = |fact: &Fact| {
                    json!({
                        "value": fact.value,
                        "shown": self.shown(row.field, fact),
                        "source": fact.source,
                        "source_text": self.source(&fact.source),
                    })
                };
                field["values"] = row.values.iter().map(value).collect();
            }
            if row.more > 0 {
                field["more"] = json!(row.more);
            }
            field
        };
        let section = |(title, rows): &(Text, Vec<Row>)| json!({ "title": self.pick(title), "fields": rows.iter().map(row).collect::<Vec<_>>() });
        let legal = |legal: &super::Legal| json!({ "text": self.pick(&legal.text), "mark": legal.mark, "mark_text": legal.mark.words(self.language) });
        json!({
            "schema": SCHEMA,
            "notice": self.notice(),
            "filing": FILED_BY.of(self.language),
            "use": NOT_FOR_PRIMARY.of(self.language),
            "form": self.form,
            "language": self.language.as_str(),
            "title": self.pick(&def.title),
            "addressee": self.pick(&def.addressee),
            "condition": self.pick(&def.condition),
            "case": self.head.case,
            "site": self.head.site,
            "made_at": self.head.made_at.to_string(),
            "made_by": self.head.made_by,
            "software": self.head.software,
            "advisories_date": self.head.advisories_date,
            "fields_mark": def.fields_mark,
            "fields_note": self.pick(&def.fields_note),
            "sections": self.sections.iter().map(section).collect::<Vec<_>>(),
            "proposals": self.proposals,
            "clocks": self.clocks,
            "legal": def.legal.iter().map(legal).collect::<Vec<_>>(),
            "verify": VERIFY.of(self.language),
        })
    }

    /// The draft as a table: one line for each value, the header and the footer as lines of their own. A cell that a
    /// spreadsheet would run as a formula begins with an apostrophe.
    pub fn csv(&self) -> String {
        let def = self.def();
        let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
        let mut put = |part: &str, key: &str, label: &str, known: &str, value: &str, source: &str| {
            // Writing into memory cannot fail, and every record has six cells.
            let _ = csv.write_record([part, key, label, known, value, source].map(plain));
        };
        put("part", "key", "label", "known", "value", "source");
        let head = &self.head;
        put("header", "notice", "", "", self.notice(), "");
        put("header", "filing", "", "", FILED_BY.of(self.language), "");
        put("header", "use", "", "", NOT_FOR_PRIMARY.of(self.language), "");
        put("header", "form", self.pick(&def.title), "", self.form.as_str(), "");
        put("header", "condition", "", "", self.pick(&def.condition), "");
        put("header", "case", "", "", &head.case, &head.site);
        put("header", "made_at", "", "", &head.made_at.to_string(), &head.made_by);
        put("header", "software", "", "", &head.software, &head.advisories_date);
        put("header", "fields", "", "", self.pick(&def.fields_note), def.fields_mark.words(self.language));
        for (title, rows) in &self.sections {
            let title = self.pick(title);
            for row in rows {
                let label = self.label(row.field);
                if row.values.is_empty() {
                    put(title, &row.field.key, &label, "no", self.unknown(), "");
                }
                for fact in &row.values {
                    let (value, source) = (self.shown(row.field, fact), self.source(&fact.source));
                    put(title, &row.field.key, &label, "yes", &value, &source);
                }
                if row.more > 0 {
                    put(title, &row.field.key, &label, "yes", &say::more(row.more, self.language), "");
                }
            }
        }
        for p in &self.proposals {
            put("proposal", p.kind.as_str(), self.pick(&p.name), "", self.pick(&p.reason), &p.alerts.join(" "));
        }
        for c in &self.clocks {
            let source = format!("{} ({})", self.pick(&c.source), c.mark.words(self.language));
            put("clock", &c.id, self.pick(&c.condition), &self.clock_state(c), &c.due_at.to_string(), &source);
        }
        for legal in &def.legal {
            put("footer", "legal", "", "", self.pick(&legal.text), legal.mark.words(self.language));
        }
        put("footer", "verify", "", "", VERIFY.of(self.language), "");
        String::from_utf8(csv.into_inner().unwrap_or_default()).unwrap_or_default()
    }
}

/// A cell that no spreadsheet runs.
fn plain(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell.to_owned() }
}
