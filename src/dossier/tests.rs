//! What a draft may say, and what it must not.

use super::*;
use crate::text::policy;

/// Phrases of law, said only where the law is named.
const OF_LAW: [&str; 2] = ["personal data breach", "violazione dei dati personali"];

fn at(text: &str) -> Timestamp {
    Timestamp::from_ms(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn head() -> Head {
    Head {
        case: "C-20261130-1".into(),
        site: "vg1".into(),
        zone: jiff::tz::TimeZone::get("Europe/Rome").unwrap(),
        made_at: at("2026-11-30T09:00:00Z"),
        made_by: "eng1".into(),
        software: "vitalguard 0.1.0".into(),
        advisories_date: "2026-09-30".into(),
        confirmations: Vec::new(),
        filings: Vec::new(),
        seen: Vec::new(),
    }
}

fn operator(value: &str) -> Fact {
    Fact { value: value.into(), source: FactSource::Operator { user: "eng1".into(), at: at("2026-11-30T08:00:00Z") } }
}

fn facts(list: &[(&str, Fact)]) -> Facts {
    let mut facts = Facts::new();
    for (key, fact) in list {
        facts.entry((*key).into()).or_default().push(fact.clone());
    }
    facts
}

fn known(draft: &Draft) -> Vec<(&str, &str)> {
    let rows = draft.sections.iter().flat_map(|(_, rows)| rows);
    rows.flat_map(|row| row.values.iter().map(|fact| (row.field.key.as_str(), fact.value.as_str()))).collect()
}

fn everything() -> impl Iterator<Item = (Form, Language)> {
    Form::ALL.into_iter().flat_map(|form| [(form, Language::En), (form, Language::It)])
}

#[test]
fn without_facts_every_field_is_to_be_completed() {
    for (form, language) in everything() {
        let draft = fill(form, language, &Facts::new(), &head());
        let (notice, unknown, verify) = match language {
            Language::It => ("BOZZA - non inviata - campi non verificati", "da completare", "verificare sul testo in vigore"),
            Language::En => ("DRAFT - not sent - fields not verified", "to be completed", "verify against the text in force"),
        };
        let rows: usize = draft.sections.iter().map(|(_, rows)| rows.len()).sum();
        let (html, json, csv) = (draft.html(), draft.json(), draft.csv());
        assert_eq!(html.matches(&format!(">{unknown}</td>")).count(), rows, "{form:?}");
        assert_eq!(csv.matches(&format!(",no,{unknown},")).count(), rows, "{form:?}");
        let fields = json["sections"].as_array().unwrap().iter().flat_map(|s| s["fields"].as_array().unwrap());
        assert_eq!(fields.filter(|f| f["known"] == false && f["value"] == unknown && f.get("values").is_none()).count(), rows);
        for text in [&html, &csv, &json.to_string()] {
            assert!(text.contains(notice) && text.contains(verify), "{form:?}");
        }
        assert!(json["proposals"].as_array().unwrap().is_empty() && json["clocks"].as_array().unwrap().is_empty());
        // The footer names its sources with a mark each.
        assert!(!draft.def().legal.is_empty());
        for legal in &draft.def().legal {
            assert!(csv.contains(legal.mark.words(language)), "{form:?}");
        }
    }
}

#[test]
fn the_italian_report_cites_the_circular_and_the_decree_and_says_what_is_not_verified() {
    let html = fill(Form::MinistryIt, Language::It, &Facts::new(), &head()).html();
    for text in ["07/02/2025, prot. 0010860", "D.Lgs 137/2022, art. 10", "DM 1° luglio 2025 (GU n. 218 del 19 settembre 2025)"] {
        assert!(html.contains(&crate::html::escape(text)), "{text}");
    }
    assert!(html.contains("da confrontare con l&#39;Allegato 1 del DM 1° luglio 2025") && html.contains("non verificato"));
    let english = fill(Form::MinistryIt, Language::En, &Facts::new(), &head());
    assert!(english.html().contains("Fabbricante (Manufacturer)"), "names stay Italian, with a gloss");
    assert!(english.html().contains("to be compared with Allegato 1 of DM 1 July 2025"));
}

#[test]
fn a_product_is_named_by_a_person_or_by_an_exact_match_alone() {
    let said = |value: &str, source: FactSource| Fact { value: value.into(), source };
    let advisory = |level| FactSource::Advisory { id: "ICSMA-25-030-01".into(), level, matched: "cms-8000".into() };
    let facts = facts(&[
        ("device.manufacturer", said("Feed Ltd", FactSource::Feed { raw: "gw.5".into() })),
        ("device.manufacturer", said("Family Ltd", advisory(Level::Family))),
        ("device.manufacturer", said("Vendor Ltd", advisory(Level::Vendor))),
        ("device.manufacturer", said("Contec", advisory(Level::Exact))),
        ("device.model", operator("CMS8000")),
        ("device.class", said("IIb", advisory(Level::Exact))),
        ("device.registration", said("123", FactSource::Feed { raw: "gw.5".into() })),
        ("device.udi_di", said("456", FactSource::Alert { id: "A-1".into() })),
        ("device.lot", operator("  ")),
        ("nobody.knows", operator("x")),
    ]);
    let draft = fill(Form::MinistryIt, Language::It, &facts, &head());
    assert_eq!(known(&draft), [("device.model", "CMS8000"), ("device.manufacturer", "Contec")]);
    let html = draft.html();
    assert!(html.contains("ICSMA-25-030-01 (exact), parole riconosciute &quot;cms-8000&quot;"), "the matched words are shown");
    assert!(html.contains("operatore eng1, 2026-11-30 09:00:00 +01:00"), "who said it, and when");
}

#[test]
fn what_others_wrote_is_text_in_every_output() {
    let hostile = "<script>alert(1)</script>\u{202e}\"';<img src=x onerror=y>";
    let mut list: Vec<(&str, Fact)> = fields().iter().map(|field| (field.key.as_str(), operator(hostile))).collect();
    for key in ["event.findings", "device.words"] {
        list.push((key, Fact { value: hostile.into(), source: FactSource::Feed { raw: hostile.into() } }));
        list.push((key, Fact { value: hostile.into(), source: FactSource::Alert { id: hostile.into() } }));
    }
    let said = FactSource::Advisory { id: hostile.into(), level: Level::Exact, matched: hostile.into() };
    list.push(("device.model", Fact { value: hostile.into(), source: said }));
    let confirmation = |kind| Confirmation {
        kind,
        at: at("2026-11-30T08:00:00Z"),
        known_since: at("2026-11-30T07:00:00Z"),
        by: hostile.into(),
        withdrawn: None,
    };
    let head = Head {
        case: hostile.into(),
        site: hostile.into(),
        made_by: hostile.into(),
        software: hostile.into(),
        advisories_date: hostile.into(),
        confirmations: Kind::ALL.into_iter().map(confirmation).collect(),
        seen: vec![Seen { alert: hostile.into(), condition: "M04 mass_silence".into(), assessment: Assessment::Silence }],
        ..head()
    };
    for (form, language) in everything() {
        let draft = fill(form, language, &facts(&list), &head);
        let html = draft.html();
        assert!(!html.contains("<script") && !html.contains("<img") && !html.contains('\u{202e}'), "{form:?}");
        let json: serde_json::Value = serde_json::from_str(&draft.json().to_string()).unwrap();
        assert_eq!(json["case"], hostile);
        let csv = draft.csv();
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        assert!(reader.records().all(|record| record.unwrap().len() == 6), "{form:?}");
    }
}

#[test]
fn no_cell_runs_as_a_formula_and_nothing_is_without_a_bound() {
    let long = "x".repeat(VALUE_CHARS_MAX + 17);
    let mut list = vec![("event.description", operator(&long)), ("event.place", operator("=HYPERLINK(\"http://x\")"))];
    for n in 0..FACTS_PER_FIELD_MAX + 3 {
        list.push(("measures.taken", operator(&format!("measure {n}"))));
    }
    let draft = fill(Form::MinistryIt, Language::En, &facts(&list), &head());
    let csv = draft.csv();
    assert!(csv.contains("\"'=HYPERLINK(") && csv.contains("3 more values are not shown"), "{csv}");
    assert!(csv.contains("x […+17]") && !csv.contains(&long));
    assert!(draft.html().contains("3 more values are not shown"));
    assert_eq!(draft.json()["sections"][5]["fields"][2]["more"], 3);
    // The same value of the same source is one.
    let twice = facts(&[("device.lot", operator("7")), ("device.lot", operator("7"))]);
    assert_eq!(known(&fill(Form::MinistryIt, Language::En, &twice, &head())).len(), 1);
}

#[test]
fn an_answer_is_shown_in_the_language_of_the_page_and_a_time_in_the_site_s_zone() {
    let observed = Fact { value: "2026-07-01T10:00:00Z".into(), source: FactSource::Alert { id: "A-1".into() } };
    let facts = facts(&[
        ("device.available", operator("yes")),
        ("consequences.kind", operator("hospitalisation")),
        ("event.first_observed", observed),
    ]);
    let italian = fill(Form::MinistryIt, Language::It, &facts, &head()).csv();
    assert!(italian.contains(",sì,") && italian.contains("ospedalizzazione") && italian.contains("2026-07-01 12:00:00 +02:00"));
    assert!(fill(Form::MinistryIt, Language::En, &facts, &head()).csv().contains("hospitalisation"));
}

#[test]
fn a_term_is_shown_only_after_a_person_has_confirmed_and_from_the_stated_time() {
    let confirmed = Confirmation {
        kind: Kind::SeriousIncident,
        at: at("2026-11-30T08:00:00Z"),
        known_since: at("2026-11-29T21:00:00Z"),
        by: "eng1".into(),
        withdrawn: None,
    };
    let facts = facts(&[("event.known_since", operator("2020-01-01T00:00:00Z"))]);
    let before = fill(Form::MinistryIt, Language::It, &facts, &head());
    assert!(known(&before).is_empty() && before.html().contains("Nessun termine in corso"));
    let head = Head { confirmations: vec![confirmed], ..head() };
    let after = fill(Form::MinistryIt, Language::It, &facts, &head);
    assert_eq!(known(&after), [("event.known_since", "2026-11-29T21:00:00.000Z")]);
    let html = after.html();
    assert!(html.contains("2026-12-09 22:00:00 +01:00") && html.contains("Se si tratta di un incidente grave"), "{html}");
    assert!(html.contains("fonte secondaria") && html.contains("in corso"));
    // Not the term of another form.
    assert!(fill(Form::Gdpr33, Language::It, &facts, &head).clocks.is_empty());
}

#[test]
fn what_a_person_has_confirmed_and_what_went_before_stands_in_the_notices_to_come() {
    let confirmed = |kind, withdrawn| Confirmation {
        kind,
        at: at("2026-11-30T08:00:00Z"),
        known_since: at("2026-11-29T21:00:00Z"),
        by: "eng1".into(),
        withdrawn,
    };
    let back = Withdrawn { at: at("2026-11-30T08:30:00Z"), by: "eng1".into(), reason: "no".into() };
    let confirmations = vec![confirmed(Kind::NisIs2, None), confirmed(Kind::NisIs3, Some(back)), confirmed(Kind::Law90, None)];
    let reference = "ACN-SECRET-7".to_owned();
    let filing = Filing { form: Form::Nis2PreNotification, at: at("2026-11-30T08:40:00Z"), by: "eng2".into(), reference };
    let head = Head { confirmations, filings: vec![filing], ..head() };
    for (language, said, sent) in [
        (
            Language::It,
            "Confermato da una persona: <b>IS-2: integrità</b> (eng1, 2026-11-30 09:00:00 +01:00)",
            "NIS2: pre-notifica",
        ),
        (
            Language::En,
            "Confirmed by a person: <b>IS-2: integrity</b> (eng1, 2026-11-30 09:00:00 +01:00)",
            "NIS2: pre-notification",
        ),
    ] {
        let html = fill(Form::Nis2Final, language, &Facts::new(), &head).html();
        assert!(html.contains(said), "{html}");
        assert!(html.contains(&format!("<li>{sent}: 2026-11-30 09:40:00 +01:00, eng2</li>")), "{html}");
        assert!(!html.contains("IS-3") || html.matches("IS-3").count() == 1, "withdrawn; only the source names it: {html}");
        assert!(!html.contains("SECRET"));
    }
    let other = fill(Form::MinistryIt, Language::It, &Facts::new(), &head).html();
    assert!(!other.contains("IS-2"), "{other}");
}

#[test]
fn a_kind_of_incident_is_proposed_with_its_reason_and_decided_by_nobody_here() {
    let seen = |alert: &str, condition: &str, assessment| Seen { alert: alert.into(), condition: condition.into(), assessment };
    let all = [
        seen("A-1", "M04 mass_silence", Assessment::Silence),
        seen("A-2", "N03 indicator_frame", Assessment::Advisory),
        seen("A-3", "T03 flat_line", Assessment::Tamper),
        seen("A-4", "M03 device_silence", Assessment::Silence),
        seen("A-5", "N01 advisory_match", Assessment::Advisory),
    ];
    let kinds: Vec<(Kind, Vec<String>)> = proposals(&all).into_iter().map(|p| (p.kind, p.alerts)).collect();
    let one = |id: &str| vec![id.to_owned()];
    assert_eq!(kinds, [(Kind::NisIs2, one("A-3")), (Kind::NisIs1, one("A-2")), (Kind::NisIs3, one("A-1"))]);
    assert!(proposals(&all[3..]).is_empty(), "one silent device, or a name, proposes nothing");
    let head = Head { seen: all.to_vec(), ..head() };
    let draft = fill(Form::Nis2PreNotification, Language::En, &Facts::new(), &head);
    let html = draft.html();
    assert!(
        html.contains("IS-2: integrity")
            && html.contains("A proposal for a person to decide")
            && html.contains("secondary source")
    );
    assert!(draft.clocks.is_empty(), "a proposal starts no clock");
    assert!(fill(Form::MinistryIt, Language::En, &Facts::new(), &head).proposals.is_empty());
}

#[test]
fn every_text_keeps_to_the_wording_policy_and_never_says_that_a_duty_exists() {
    let confirmation = |kind| Confirmation {
        kind,
        at: at("2026-11-30T08:00:00Z"),
        known_since: at("2026-11-30T07:00:00Z"),
        by: "eng1".into(),
        withdrawn: None,
    };
    let head = Head {
        confirmations: Kind::ALL.into_iter().map(confirmation).collect(),
        seen: vec![
            Seen { alert: "A-1".into(), condition: "M04 mass_silence".into(), assessment: Assessment::Silence },
            Seen { alert: "A-2".into(), condition: "N03 indicator_frame".into(), assessment: Assessment::Advisory },
            Seen { alert: "A-3".into(), condition: "T03 flat_line".into(), assessment: Assessment::Tamper },
        ],
        ..head()
    };
    let check = |place: &str, text: &str| {
        let mut text = text.replace("alarming", "").replace("l'allarme primario", "").replace("l&#39;allarme primario", "");
        for phrase in OF_LAW {
            text = text.replace(phrase, "");
        }
        policy::hold(place, &text, false);
        for word in
            ["you must", "is obliged", "must be reported", "obbligo", "obbligat", "è tenut", "shall report", "deve segnalare"]
        {
            assert!(!text.to_lowercase().contains(word), "{place}: {word}");
        }
    };
    for (form, language) in everything() {
        let draft = fill(form, language, &Facts::new(), &head);
        let def = draft.def();
        assert!(def.condition.en.starts_with("If this is ") && def.condition.it.starts_with("Se si tratta di "), "{form:?}");
        check(form.as_str(), &draft.csv());
        check(form.as_str(), &draft.html().replace(crate::html::STYLE, ""));
    }
    for field in fields() {
        let hint = field.hint.clone().unwrap_or_default();
        let choices: Vec<String> = field.choices.iter().map(|c| format!("{} {}", c.en, c.it)).collect();
        check(&field.key, &format!("{} {} {} {} {}", field.label.en, field.label.it, hint.en, hint.it, choices.join(" ")));
        assert!(!field.label.en.is_empty() && !field.label.it.is_empty());
    }
}

#[test]
fn an_operator_s_value_is_bounded_and_of_its_kind() {
    let bad = |key: &str, value: &str| check_value(key, value).unwrap_err().to_string();
    assert!(bad("no.such", "x").contains("no field"));
    assert!(bad("event.known_since", "2026-11-30T08:00:00Z").contains("filled by the program"));
    assert!(bad("device.words", "x").contains("filled by the program"));
    assert!(bad("device.model", &"x".repeat(201)).contains("more than 200"));
    assert!(bad("device.model", "a\nb").contains("control"));
    assert!(bad("device.model", " ").contains("a text is meant"));
    assert!(bad("event.date", "2026-02-30").contains("YYYY-MM-DD") && bad("event.date", "30/11/2026").contains("YYYY-MM-DD"));
    assert!(bad("event.patients", "-1").contains("whole number") && bad("event.patients", "many").contains("whole number"));
    assert!(bad("device.available", "perhaps").contains("yes or no"));
    assert!(bad("consequences.kind", "sad").contains("one of the answers"));
    for (key, value) in [
        ("device.model", "CMS8000"),
        ("device.model", ""),
        ("event.description", "two\nlines"),
        ("event.date", "2026-11-30"),
        ("event.patients", "3"),
        ("device.available", "no"),
        ("consequences.kind", "none"),
    ] {
        assert_eq!(check_value(key, value), Ok(()), "{key}");
    }
    // No field has a default; the places of identity take a person's word or nothing that the program derives.
    for key in ["device.class", "device.registration", "device.nomenclature"] {
        assert_eq!(field(key).unwrap().from, [Speaker::Operator]);
    }
}

#[test]
fn the_words_of_paths_are_stable() {
    for form in Form::ALL {
        assert_eq!(Form::parse(form.as_str()), Some(form));
        assert_eq!(serde_json::to_value(form).unwrap(), form.as_str());
    }
    for kind in Kind::ALL {
        assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
    assert_eq!((Form::parse("x"), Kind::parse("")), (None, None));
}
