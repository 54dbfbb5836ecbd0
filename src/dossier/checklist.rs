//! The sheet for home: one A4 page for caregivers and doctors (`models/dossier/checklist.toml`). No patient data on it.

use super::words as say;
use super::{Language, Mark};
use crate::advisory::{Advisories, Field, Input, Level, normalised};
use crate::alert::Text;
use crate::check::spot_check::Check;
use crate::html::{self, escape};
use crate::text::Words;
use serde::Deserialize;
use std::fmt::Write as _;
use std::sync::LazyLock;

pub(super) const SHEET: &str = include_str!("../../models/dossier/checklist.toml");

/// Names of labels on the sheet, and characters of one.
const LABELS_MAX: usize = 6;
const LABEL_CHARS_MAX: usize = 40;

const STYLE: &str = "@page{size:A4;margin:11mm 13mm}body{font:10pt/1.34 sans-serif;max-width:184mm;margin:1em auto}\
h1{font-size:15pt;margin:0}h2{font-size:11pt;margin:.7em 0 .2em;border-bottom:1px solid #000}p{margin:.3em 0}\
ul{margin:.2em 0;padding-left:0;list-style:none}li{margin:.18em 0;padding-left:1.7em;position:relative}\
li::before{content:\"\";position:absolute;left:.2em;top:.18em;width:.85em;height:.85em;border:1.2px solid #000}\
th,td{font-size:9.2pt;padding:.15em .4em}td.blank{width:20mm}.mark{border:1px solid #000;padding:0 .25em;font-size:7.6pt;white-space:nowrap}\
.use{margin:.5em 0;font-size:10pt}footer{border-top:1px solid #000;margin-top:.7em;font-size:7.8pt;line-height:1.25}\
@media print{body{margin:0}}";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sheet {
    schema: String,
    version: String,
    advisory: String,
    title: Text,
    for_whom: Text,
    first: Text,
    #[serde(rename = "part")]
    parts: Vec<Part>,
    compare: Vec<Row>,
    #[serde(rename = "source")]
    sources: Vec<Source>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    title: Text,
    #[serde(default)]
    compare: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(default)]
    mark: Option<Mark>,
    en: String,
    it: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    what: Text,
    how: Text,
    limit: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    mark: Mark,
    text: Text,
}

static SHIPPED: LazyLock<Sheet> = LazyLock::new(|| read(SHEET).expect("the shipped sheet is read by a test"));

fn read(text: &str) -> Result<Sheet, String> {
    let sheet: Sheet = toml::from_str(text).map_err(|e| e.to_string())?;
    if sheet.schema == "checklist/1" { Ok(sheet) } else { Err(format!("schema {:?} is not checklist/1", sheet.schema)) }
}

const HAND: Words = Words { en: "Patient", it: "Paziente" };
const DISPLAY: Words = Words { en: "Display", it: "Display" };
const WHAT: Words = Words { en: "What", it: "Che cosa" };
const HOW: Words = Words { en: "Measured", it: "Misurato" };
const TELL: Words = Words { en: "Tell if it differs by", it: "Comunicare se differisce di" };
const NO_NAME: Words =
    Words { en: "Write no name of a patient on this sheet.", it: "Non scrivere su questo foglio il nome del paziente." };
const NO_LABEL: Words = Words { en: "none", it: "nessuno" };

/// The sheet as a page, with the names that the advisory data have and their date.
pub fn checklist(language: Language, advisories: &Advisories) -> String {
    let sheet = &*SHIPPED;
    let slots = slots(sheet, language, advisories);
    let pick = |text: &'static Text| if language == Language::It { text.it.as_str() } else { text.en.as_str() };
    let say = |text: &str| escape(&filled(text, &slots));
    let mark = |mark: Mark| format!("<span class=\"mark\">{}</span>", escape(mark.words(language)));
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(out, "<h1>{}</h1>\n<p>{}</p>\n", say(pick(&sheet.title)), say(pick(&sheet.for_whom)));
    let _ = writeln!(out, "<p class=\"use\">{}</p>", say(pick(&sheet.first)));
    for part in &sheet.parts {
        let _ = write!(out, "<h2>{}</h2>\n<ul>\n", say(pick(&part.title)));
        for step in &part.steps {
            let text = if language == Language::It { &step.it } else { &step.en };
            let note = step.mark.map(|m| format!(" {}", mark(m))).unwrap_or_default();
            let _ = writeln!(out, "<li>{}{note}</li>", say(text));
        }
        out.push_str("</ul>\n");
        if part.compare {
            out.push_str("<table>\n<tr>");
            for name in [&WHAT, &HOW, &HAND, &DISPLAY, &HAND, &DISPLAY, &TELL] {
                let _ = write!(out, "<th>{}</th>", name.of(language));
            }
            out.push_str("</tr>\n");
            let blank = "<td class=\"blank\"></td>".repeat(4);
            for row in &sheet.compare {
                let (what, how, limit) = (say(pick(&row.what)), say(pick(&row.how)), say(pick(&row.limit)));
                let _ = writeln!(out, "<tr><td>{what}</td><td>{how}</td>{blank}<td>{limit}</td></tr>");
            }
            let _ = write!(out, "</table>\n<p>{}</p>\n", NO_NAME.of(language));
        }
    }
    let sources: Vec<String> = sheet.sources.iter().map(|s| format!("{} {}", say(pick(&s.text)), mark(s.mark))).collect();
    let _ = write!(
        out,
        "<footer><p><b>{}</b>: {}. {} {}. <b>{}</b></p>\n<p>vitalguard {}, checklist {}</p></footer>\n",
        say::SOURCE.of(language),
        sources.join("; "),
        say::DATA.of(language),
        escape(advisories.data_date()),
        say::VERIFY.of(language),
        env!("CARGO_PKG_VERSION"),
        escape(&sheet.version)
    );
    html::page(language.as_str(), pick(&sheet.title), STYLE, &out)
}

fn slots(sheet: &Sheet, language: Language, advisories: &Advisories) -> Vec<(&'static str, String)> {
    let limits = Check::default();
    let number = |value: f64| crate::text::number(value, 0, language);
    let labels = labels(&sheet.advisory, advisories);
    let revised = advisories.find(&sheet.advisory).map_or_else(String::new, |a| a.revised.clone());
    vec![
        ("labels", if labels.is_empty() { NO_LABEL.of(language).into() } else { labels.join(", ") }),
        ("hr", number(limits.hr_bpm)),
        ("spo2", number(limits.spo2_percent)),
        ("sys", number(limits.sys_mmhg)),
        ("advisory", sheet.advisory.clone()),
        ("revised", revised),
    ]
}

/// Names of the advisory that name the product itself: a maker's name alone is none. Remarks in brackets are left out.
fn labels(id: &str, advisories: &Advisories) -> Vec<String> {
    let Some(advisory) = advisories.find(id) else { return Vec::new() };
    let names_it = |alias: &&str| {
        let text = normalised(alias);
        let found = advisories.matches(&[Input { field: Field::Site, text: &text, own: true }]);
        found.iter().any(|m| m.level == Level::Exact && advisories.of(m).is_some_and(|a| a.id == id))
    };
    let own = advisory.aliases.iter().map(|alias| alias.split(" (").next().unwrap_or_default());
    own.filter(names_it).take(LABELS_MAX).map(|alias| alias.chars().take(LABEL_CHARS_MAX).collect()).collect()
}

fn filled(text: &str, slots: &[(&str, String)]) -> String {
    slots.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::policy;

    #[test]
    fn the_sheet_names_labels_limits_sources_and_dates() {
        let data = Advisories::shipped();
        for (language, words) in [
            (
                Language::It,
                [
                    "Contec CMS8000, Epsimed MN-120",
                    "Altri nomi sono possibili",
                    "più di 10",
                    "più di 3",
                    "più di 20",
                    "60 secondi",
                ],
            ),
            (
                Language::En,
                [
                    "Contec CMS8000, Epsimed MN-120",
                    "Other names are possible",
                    "more than 10",
                    "more than 3",
                    "more than 20",
                    "60 seconds",
                ],
            ),
        ] {
            let page = checklist(language, &data);
            for word in words.iter().chain(&["07/02/2025, prot. 0010860", "ICSMA-25-030-01", "2025-02-25", data.data_date()]) {
                assert!(page.contains(word), "{word}");
            }
            assert!(page.contains(say::VERIFY.of(language)) && !page.contains('{') || page.contains("<style>"));
            let body = page.split("</style>").nth(1).unwrap();
            assert!(!body.contains('{'), "every name is filled in");
            policy::hold("checklist", body, true);
            for word in ["safe", "vulnerab", "sicuro", "infett"] {
                assert!(!body.to_lowercase().split(|c: char| !c.is_alphanumeric()).any(|w| w.starts_with(word)), "{word}");
            }
        }
    }

    #[test]
    fn a_site_s_own_names_come_onto_the_sheet_as_text() {
        let shipped = Advisories::shipped();
        let mut own = shipped.find("ICSMA-25-030-01").unwrap().clone();
        own.aliases = vec!["<b>CMS8000</b>".into(), "Contec".into(), format!("CMS8000 {}", "x".repeat(100))];
        own.revised = "2026-10-01".into();
        let text = toml::to_string(&serde_json::json!({ "schema": "advisories/1", "advisory": [own] })).unwrap();
        let data = shipped.extended(&text, "site.toml").unwrap();
        let page = checklist(Language::En, &data);
        assert!(page.contains("&lt;b&gt;CMS8000&lt;/b&gt;, CMS8000 xxx") && !page.contains("<b>CMS8000"), "{page}");
        assert!(!page.contains(&"x".repeat(41)) && page.contains("2026-10-01"));
    }

    #[test]
    fn a_sheet_of_another_kind_is_refused() {
        assert!(read(&SHEET.replace("checklist/1", "checklist/2")).unwrap_err().contains("checklist/2"));
        assert!(read(&SHEET.replace("[[compare]]", "[[compares]]")).is_err());
    }
}
