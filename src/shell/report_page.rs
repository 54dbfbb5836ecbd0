//! The incident report as a page: plain HTML that prints, no script, in English or Italian.

use crate::html::{self, escape};
use crate::shell::marked::pieces;
use crate::shell::store::Comment;
use crate::text::{Language, NOT_FOR_PRIMARY};
use serde_json::Value;
use std::fmt::Write as _;

/// One event of the alert.
#[derive(Debug, Clone, Default)]
pub struct Course {
    pub seq: u64,
    pub at: String,
    pub event: String,
    pub priority: String,
    pub state: String,
    pub by: String,
    pub via: String,
}

/// A record of the journal that the evidence stands on; without a hash it is not kept any more.
#[derive(Debug, Clone, Default)]
pub struct Link {
    pub raw: String,
    pub received: String,
    pub segment: String,
    pub offset: u64,
    pub hash: String,
    pub boot: String,
    /// Masked segments, as `/api/v1/messages` gives them.
    pub shown: Vec<Value>,
}

/// Everything on the page.
#[derive(Debug, Clone)]
pub struct Page {
    pub italian: bool,
    pub zone: jiff::tz::TimeZone,
    pub version: String,
    pub site: String,
    pub user: String,
    pub made_at: String,
    /// The alert object.
    pub alert: Value,
    pub course: Vec<Course>,
    pub events_left_out: usize,
    /// `None`: not for this reader.
    pub comments: Option<Vec<Comment>>,
    pub links: Vec<Link>,
    /// Records of the journal, and the head of its chain, when the page was made.
    pub head: (u64, String),
}

impl Default for Page {
    fn default() -> Self {
        Page {
            italian: false,
            zone: jiff::tz::TimeZone::UTC,
            version: String::new(),
            site: String::new(),
            user: String::new(),
            made_at: String::new(),
            alert: Value::Null,
            course: Vec::new(),
            events_left_out: 0,
            comments: None,
            links: Vec::new(),
            head: (0, String::new()),
        }
    }
}

/// A document's words in the language of the page; what is not listed is shown as it is.
fn word(italian: bool, word: &str) -> &str {
    if !italian {
        // A finding, not a verdict.
        return if word == "tamper" { "tampering suspected" } else { word };
    }
    match word {
        "high" => "alta",
        "medium" => "media",
        "low" => "bassa",
        "info" => "informazione",
        "active" => "attivo",
        "acknowledged" => "confermato",
        "shelved" => "sospeso",
        "latched" => "trattenuto",
        "cleared" => "chiuso",
        "raised" => "segnalato",
        "updated" => "aggiornato",
        "unacknowledged" => "conferma ritirata",
        "unshelved" => "sospensione finita",
        "escalated" => "priorità aumentata",
        "lowered" => "priorità ridotta",
        "expired" => "scaduto",
        "tamper" => "sospetta manomissione",
        "identity" => "identità",
        "artefact" => "artefatto",
        "unit" => "unità di misura",
        "silence" => "dati mancanti",
        "physiology" => "fisiologia",
        "advisory" => "avviso di sicurezza",
        "unverified" => "non verificato",
        other => other,
    }
}

struct Writer<'a> {
    page: &'a Page,
    out: String,
}

impl Writer<'_> {
    fn say(&self, en: &'static str, it: &'static str) -> &'static str {
        if self.page.italian { it } else { en }
    }
    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = self.out.write_fmt(text);
    }
    fn heading(&mut self, en: &'static str, it: &'static str) {
        let text = self.say(en, it);
        self.put(format_args!("<h2>{text}</h2>\n"));
    }
    fn row(&mut self, en: &'static str, it: &'static str, value: &str) {
        if !value.is_empty() {
            let name = self.say(en, it);
            self.put(format_args!("<tr><th>{name}</th><td>{}</td></tr>\n", escape(value)));
        }
    }
    fn word(&self, text: &Value) -> String {
        word(self.page.italian, text.as_str().unwrap_or_default()).to_owned()
    }
    /// Site time with its offset.
    fn time(&self, text: &str) -> String {
        match text.parse::<jiff::Timestamp>() {
            Ok(at) => at.to_zoned(self.page.zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f %:z").to_string(),
            Err(_) => text.to_owned(),
        }
    }
    fn sentence(&self, text: &Value) -> String {
        text[if self.page.italian { "it" } else { "en" }].as_str().unwrap_or_default().to_owned()
    }
}

/// The page.
pub fn write(page: &Page) -> String {
    let mut w = Writer { page, out: String::new() };
    let alert = &page.alert;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lang = w.say("en", "it");
    let title = w.say("Incident report", "Rapporto sull'evento");
    let title = format!("{title} {}", text(&alert["ref"]));
    w.put(format_args!("<h1>{}</h1>\n", escape(&title)));
    let use_ = NOT_FOR_PRIMARY.of(if page.italian { Language::It } else { Language::En });
    w.put(format_args!(
        "<p class=\"use\">{use_}</p>\n<p>{}</p>\n<p>{}</p>\n",
        escape(&w.sentence(&alert["text"])),
        escape(&w.sentence(&alert["action"]))
    ));
    w.put(format_args!("<table>\n"));
    w.row("Alert", "Avviso", &text(&alert["id"]));
    w.row(
        "Site, ward, bed",
        "Sede, reparto, letto",
        &format!("{} / {} / {}", page.site, text(&alert["ward"]), text(&alert["bed"])),
    );
    w.row("Condition", "Condizione", &text(&alert["condition"]));
    let kinds = format!("{}, {}, {}", w.word(&alert["assessment"]), w.word(&alert["priority"]), w.word(&alert["state"]));
    w.row("Assessment, priority, state", "Valutazione, priorità, stato", &kinds);
    let params: Vec<String> = alert["params"].as_array().into_iter().flatten().map(text).collect();
    w.row("Parameters", "Parametri", &params.join(", "));
    for (en, it, member) in [
        ("First seen", "Visto per la prima volta", "onset"),
        ("Raised", "Segnalato", "raised"),
        ("Ended", "Finito", "ended"),
        ("Closed", "Chiuso", "cleared"),
    ] {
        let time = w.time(&text(&alert[member]));
        w.row(en, it, &time);
    }
    w.row("Confidence (strength of the evidence)", "Confidenza (forza dell'evidenza)", &alert["confidence"].to_string());
    w.row("Device (hashed)", "Dispositivo (codificato)", &text(&alert["device"]));
    w.row("Model", "Modello", &text(&alert["model"]));
    w.put(format_args!("</table>\n"));
    evidence(&mut w);
    events(&mut w);
    comments(&mut w);
    journal(&mut w);
    let made = w.say("Made", "Creato");
    let by = w.say("by", "da");
    let made_at = w.time(&page.made_at);
    w.put(format_args!("<p>{made} {} {by} {}, vitalguard {}</p>\n", escape(&made_at), escape(&page.user), escape(&page.version)));
    html::page(lang, &title, "", &w.out)
}

fn head(w: &mut Writer<'_>, names: &[(&'static str, &'static str)]) {
    w.put(format_args!("<table>\n<tr>"));
    for (en, it) in names {
        let name = w.say(en, it);
        w.put(format_args!("<th>{name}</th>"));
    }
    w.put(format_args!("</tr>\n"));
}

fn cells(w: &mut Writer<'_>, cells: &[String]) {
    w.put(format_args!("<tr>"));
    for cell in cells {
        w.put(format_args!("<td>{}</td>", escape(cell)));
    }
    w.put(format_args!("</tr>\n"));
}

fn evidence(w: &mut Writer<'_>) {
    w.heading("What was compared", "Che cosa è stato confrontato");
    head(
        w,
        &[
            ("Check", "Controllo"),
            ("Finding", "Riscontro"),
            ("Value", "Valore"),
            ("Limit", "Limite"),
            ("Window, s", "Finestra, s"),
            ("Message", "Messaggio"),
        ],
    );
    let list = w.page.alert["evidence"].as_array().cloned().unwrap_or_default();
    for e in &list {
        let unit = e["unit"].as_str().unwrap_or_default();
        let number = |value: &Value| if value.is_null() { String::new() } else { format!("{value} {unit}") };
        let plain = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
        let obx = e["obx_id"].as_u64().map(|id| format!(", OBX {id}")).unwrap_or_default();
        let message = e["raw"].as_str().map(|raw| format!("{raw}{obx}")).unwrap_or_default();
        let row = [
            e["check"].as_str().unwrap_or_default().to_owned(),
            w.sentence(&e["text"]),
            number(&e["value"]),
            number(&e["limit"]),
            plain(&e["window_s"]),
            message,
        ];
        cells(w, &row);
    }
    w.put(format_args!("</table>\n"));
}

fn events(w: &mut Writer<'_>) {
    w.heading("Course", "Decorso");
    head(w, &[("#", "#"), ("Time", "Ora"), ("Event", "Evento"), ("Priority", "Priorità"), ("State", "Stato"), ("By", "Da")]);
    let italian = w.page.italian;
    for c in &w.page.course {
        let by = if c.by.is_empty() { c.via.clone() } else { format!("{} ({})", c.by, c.via) };
        let row = [
            c.seq.to_string(),
            w.time(&c.at),
            word(italian, &c.event).to_owned(),
            word(italian, &c.priority).to_owned(),
            word(italian, &c.state).to_owned(),
            by,
        ];
        cells(w, &row);
    }
    w.put(format_args!("</table>\n"));
    if w.page.events_left_out > 0 {
        let more = w.say("further events are not shown", "altri eventi non sono mostrati");
        w.put(format_args!("<p>{} {more}</p>\n", w.page.events_left_out));
    }
}

fn comments(w: &mut Writer<'_>) {
    let Some(list) = w.page.comments.as_ref().filter(|list| !list.is_empty()) else { return };
    w.heading("Comments", "Commenti");
    head(w, &[("Time", "Ora"), ("User", "Utente"), ("Comment", "Commento")]);
    for comment in list {
        let row = [w.time(&comment.at.to_string()), comment.user.clone(), comment.text.clone()];
        cells(w, &row);
    }
    w.put(format_args!("</table>\n"));
}

/// A segment with its marks.
pub(crate) fn marked(segment: &Value) -> String {
    let pieces = pieces(segment).into_iter();
    pieces.map(|(piece, is)| if is { format!("<mark>{}</mark>", escape(&piece)) } else { escape(&piece) }).collect()
}

fn journal(w: &mut Writer<'_>) {
    w.heading("Records of the journal", "Registrazioni del giornale");
    let what = w.say(
        "Every record's hash covers the record before it; identities are masked here (***), the journal holds the whole messages.",
        "L'hash di ogni registrazione copre quella precedente; qui le identità sono nascoste (***), il giornale contiene i messaggi interi.",
    );
    w.put(format_args!("<p>{what}</p>\n"));
    for link in &w.page.links {
        if link.hash.is_empty() {
            let gone = w.say("not kept any more, or not looked up in time", "non più conservata, o non trovata in tempo");
            w.put(format_args!("<p>{}: {gone}</p>\n", escape(&link.raw)));
            continue;
        }
        let received = w.say("received", "ricevuto");
        let offset = w.say("offset", "posizione");
        let at = w.time(&link.received);
        w.put(format_args!(
            "<p>{}, {received} {}, {} {offset} {}, boot {}<br><span class=\"hash\">sha256:{}</span></p>\n<pre>",
            escape(&link.raw),
            escape(&at),
            escape(&link.segment),
            link.offset,
            escape(&link.boot),
            escape(&link.hash)
        ));
        for segment in &link.shown {
            w.put(format_args!("{}\n", marked(segment)));
        }
        w.put(format_args!("</pre>\n"));
    }
    let (records, hash) = &w.page.head;
    let now = w.say(
        "Head of the chain when this page was made: record",
        "Testa della catena alla creazione di questa pagina: registrazione",
    );
    w.put(format_args!("<p>{now} {records}<br><span class=\"hash\">sha256:{}</span></p>\n", escape(hash)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_wrote_is_text_and_the_languages_differ() {
        let page = Page {
            site: "<b>site".into(),
            alert: json!({
                "id": "A-1", "ref": "1D15-DB51", "ward": "icu", "bed": "A03", "condition": "T03 flat_line", "assessment": "tamper",
                "priority": "high", "state": "active", "params": ["hr"], "onset": "2026-11-22T18:23:26.412Z", "confidence": 0.98,
                "text": { "en": "HR not <changing>", "it": "FC immutata" }, "action": { "en": "Look.", "it": "Guardare." },
                "evidence": [{ "check": "T03", "value": 41, "limit": 9, "unit": "s", "raw": "gw.5", "obx_id": 1, "text": { "en": "41 s", "it": "41 s" } }],
            }),
            comments: Some(vec![Comment {
                alert: "A-1".into(),
                at: crate::time::Timestamp::from_ms(0),
                user: "n".into(),
                text: "<script>x</script>".into(),
            }]),
            links: vec![
                Link {
                    raw: "gw.5".into(),
                    hash: "ab".into(),
                    shown: vec![
                        json!({ "name": "OBX", "index": 1, "text": "OBX|1|NM|a&b||72", "marks": [{ "field": 5, "start": 14, "end": 16 }] }),
                    ],
                    ..Link::default()
                },
                Link { raw: "gw.6".into(), ..Link::default() },
            ],
            zone: jiff::tz::TimeZone::get("Europe/Rome").unwrap(),
            ..Page::default()
        };
        let english = write(&page);
        assert!(english.contains("HR not &lt;changing&gt;") && english.contains("2026-11-22 19:23:26.412 +01:00"), "{english}");
        assert!(english.contains("OBX|1|NM|a&amp;b||<mark>72</mark>") && english.contains("gw.6: not kept"), "{english}");
        assert!(!english.contains("<script") && !english.contains("<b>site"));
        let italian = write(&Page { italian: true, ..page.clone() });
        assert!(
            italian.contains("FC immutata")
                && italian.contains("sospetta manomissione, alta, attivo")
                && italian.contains("lang=\"it\"")
        );
        assert!(!write(&Page { comments: None, ..page }).contains("script"));
    }
}
