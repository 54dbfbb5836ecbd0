//! A draft as a page that prints: no script, nothing fetched, everything that others wrote escaped.

use super::proposal::kind_name;
use super::words as say;
use super::{Clock, Draft, Mark, Row, form as described};
use crate::html::{self, escape};
use crate::text::{NOT_FOR_PRIMARY, Words};
use std::fmt::Write as _;

const STYLE: &str = "@page{size:A4;margin:14mm 12mm 14mm}\
.notice{font-size:14pt;border:3px solid #000;padding:.4em;text-align:center;margin:0 0 .6em}\
td.value{white-space:pre-wrap;overflow-wrap:anywhere;width:42%}td.source{overflow-wrap:anywhere;width:26%;font-size:9pt}\
td.todo{font-style:italic;background:repeating-linear-gradient(135deg,#fff 0 6px,#f1f1f1 6px 8px)}\
.mark{border:1px solid #000;padding:0 .3em;font-size:9pt;white-space:nowrap}footer{border-top:2px solid #000;margin-top:1.4em;font-size:9pt}\
@media print{.notice{break-after:avoid}}";

struct Writer<'d> {
    draft: &'d Draft,
    out: String,
}

impl Writer<'_> {
    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.out.write_fmt(text);
    }
    fn of(&self, words: &Words) -> &'static str {
        words.of(self.draft.language)
    }
    fn mark(&self, mark: Mark) -> String {
        format!("<span class=\"mark\">{}</span>", escape(mark.words(self.draft.language)))
    }
    fn line(&mut self, name: &Words, value: &str) {
        let name = self.of(name);
        self.put(format_args!("<tr><th>{name}</th><td>{}</td></tr>\n", escape(value)));
    }
    fn head(&mut self, names: &[&Words]) {
        self.put(format_args!("<table>\n<tr>"));
        for name in names {
            let name = self.of(name);
            self.put(format_args!("<th>{name}</th>"));
        }
        self.put(format_args!("</tr>\n"));
    }
}

impl Draft {
    /// The draft as a page.
    pub fn html(&self) -> String {
        let def = self.def();
        let mut w = Writer { draft: self, out: String::new() };
        let notice = self.notice();
        w.put(format_args!("<p class=\"notice\"><strong>{notice}</strong></p>\n<p class=\"use\">{}</p>\n", w.of(&say::FILED_BY)));
        w.put(format_args!("<h1>{}</h1>\n<p>{}</p>\n<table>\n", escape(self.pick(&def.title)), w.of(&NOT_FOR_PRIMARY)));
        w.line(&say::TO, self.pick(&def.addressee));
        w.line(&say::CONDITION, self.pick(&def.condition));
        w.line(&say::CASE, &format!("{}, {}", self.head.case, self.head.site));
        w.line(&say::MADE, &format!("{}, {}, {}", self.time(self.head.made_at), self.head.made_by, self.head.software));
        w.line(&say::DATA, &self.head.advisories_date);
        w.put(format_args!("</table>\n<p>{} {}</p>\n", w.mark(def.fields_mark), escape(self.pick(&def.fields_note))));
        clocks(&mut w);
        proposals(&mut w);
        for (title, rows) in &self.sections {
            w.put(format_args!("<h2>{}</h2>\n", escape(self.pick(title))));
            w.head(&[&say::FIELD, &say::VALUE, &say::SOURCE]);
            rows.iter().for_each(|row| field(&mut w, row));
            w.put(format_args!("</table>\n"));
        }
        footer(&mut w);
        // On every sheet of paper; the words are ours and hold no quotes.
        let style = format!(
            "{STYLE}@page{{@top-center{{content:\"{notice}\";font:8pt sans-serif}}@bottom-right{{content:counter(page) \" / \" counter(pages);font:8pt sans-serif}}}}"
        );
        html::page(self.language.as_str(), &format!("{notice}: {}", self.pick(&def.title)), &style, &w.out)
    }
}

fn field(w: &mut Writer<'_>, row: &Row) {
    let draft = w.draft;
    let label = escape(&draft.label(row.field));
    if row.values.is_empty() {
        w.put(format_args!(
            "<tr><th>{label}</th><td class=\"value todo\">{}</td><td class=\"source\"></td></tr>\n",
            draft.unknown()
        ));
    }
    for fact in &row.values {
        w.put(format_args!(
            "<tr><th>{label}</th><td class=\"value\">{}</td><td class=\"source\">{}</td></tr>\n",
            escape(&draft.shown(row.field, fact)),
            escape(&draft.source(&fact.source))
        ));
    }
    if row.more > 0 {
        w.put(format_args!("<tr><th>{label}</th><td colspan=\"2\">{}</td></tr>\n", say::more(row.more, draft.language)));
    }
}

fn clocks(w: &mut Writer<'_>) {
    w.put(format_args!("<h2>{}</h2>\n", w.of(&say::CLOCKS)));
    let draft = w.draft;
    if draft.clocks.is_empty() {
        w.put(format_args!("<p>{}</p>\n", w.of(&say::NO_CLOCK)));
        return;
    }
    w.head(&[&say::TERM, &say::START, &say::DUE, &say::STATE, &say::SOURCE]);
    draft.clocks.iter().for_each(|clock| term(w, clock));
    w.put(format_args!("</table>\n"));
    if draft.head.filings.is_empty() {
        return;
    }
    // Which form followed which: a final report names what went before it. References are for the case, not for a masked bundle.
    w.put(format_args!("<p>{}:</p>\n<ul>\n", w.of(&say::FILINGS)));
    for filing in &draft.head.filings {
        w.put(format_args!(
            "<li>{}: {}, {}</li>\n",
            escape(draft.pick(&described(filing.form).title)),
            escape(&draft.time(filing.at)),
            escape(&filing.by)
        ));
    }
    w.put(format_args!("</ul>\n"));
}

fn term(w: &mut Writer<'_>, clock: &Clock) {
    let draft = w.draft;
    let note = clock.note.as_ref().map(|note| format!("<br>{}", escape(draft.pick(note)))).unwrap_or_default();
    w.put(format_args!(
        "<tr><td><b>{}</b>: {}{note}</td><td>{}<br>{} {}, {}</td><td>{}</td><td>{}</td><td>{} {}<br>{}</td></tr>\n",
        escape(draft.pick(&clock.term)),
        escape(draft.pick(&clock.condition)),
        escape(&draft.time(clock.starts_at)),
        w.of(&say::CONFIRMED),
        escape(&clock.confirmed_by),
        escape(&draft.time(clock.confirmed_at)),
        escape(&draft.time(clock.due_at)),
        escape(&draft.clock_state(clock)),
        escape(draft.pick(&clock.source)),
        w.mark(clock.mark),
        w.of(&say::VERIFY)
    ));
}

fn proposals(w: &mut Writer<'_>) {
    let draft = w.draft;
    if !draft.is_cyber() {
        return;
    }
    w.put(format_args!("<h2>{}</h2>\n", w.of(&say::PROPOSALS)));
    for known in draft.head.confirmations.iter().filter(|known| known.withdrawn.is_none()) {
        let Some(name) = kind_name(known.kind) else { continue };
        let (name, by, at) = (escape(draft.pick(&name)), escape(&known.by), escape(&draft.time(known.at)));
        w.put(format_args!("<p>{}: <b>{name}</b> ({by}, {at})</p>\n", w.of(&say::STATED)));
    }
    w.put(format_args!("<p>{}</p>\n", w.of(&say::PROPOSAL_NOTE)));
    if draft.proposals.is_empty() {
        w.put(format_args!("<p>{}</p>\n", w.of(&say::NO_PROPOSAL)));
        return;
    }
    w.put(format_args!("<ul>\n"));
    for p in &draft.proposals {
        w.put(format_args!(
            "<li><b>{}</b> {}: {} <span class=\"hash\">{}</span></li>\n",
            escape(draft.pick(&p.name)),
            w.mark(p.mark),
            escape(draft.pick(&p.reason)),
            escape(&p.alerts.join(", "))
        ));
    }
    w.put(format_args!("</ul>\n"));
}

fn footer(w: &mut Writer<'_>) {
    w.put(format_args!("<footer><p><b>{}</b></p>\n<ul>\n", w.of(&say::LEGAL)));
    for legal in &w.draft.def().legal {
        w.put(format_args!("<li>{} {}</li>\n", escape(w.draft.pick(&legal.text)), w.mark(legal.mark)));
    }
    w.put(format_args!("</ul>\n<p><b>{}</b></p>\n<p>{}</p></footer>\n", w.of(&say::VERIFY), w.draft.notice()));
}
