use super::*;

fn found(own: &[(Field, &str)], context: &[(Field, &str)]) -> Vec<String> {
    let texts: Vec<(Field, String, bool)> = own
        .iter()
        .map(|(f, t)| (*f, normalised(&clean(t)), true))
        .chain(context.iter().map(|(f, t)| (*f, normalised(&clean(t)), false)))
        .collect();
    let inputs: Vec<Input<'_>> = texts.iter().map(|(field, text, own)| Input { field: *field, text, own: *own }).collect();
    let data = Advisories::shipped();
    data.matches(&inputs).iter().map(|m| format!("{} {} {}", data.of(m).unwrap().id, m.level.as_str(), m.words)).collect()
}

#[test]
fn the_data_are_whole_and_every_pattern_test_holds() {
    // Reading checks each pattern test; this says how much was read.
    let data = Advisories::read(SHIPPED, "data/advisories.toml").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(data.list().len(), 27);
    assert_eq!(data.list().iter().map(|a| a.cves.len()).sum::<usize>(), 68);
    assert_eq!(data.data_date(), "2026-09-30");
    assert_eq!(data.warn_after_days(), 90.0);
    assert_eq!(data.find("icsma-25-030-01").unwrap().network_indicators.len(), 11);
    let tests: usize = data.list().iter().map(|a| a.pattern_tests.r#match.len() + a.pattern_tests.no_exact_match.len()).sum();
    assert!(tests >= 60, "{tests}");
    // Where the tests speak of the product and not of the vendor, the match is exact with the vendor beside it.
    for advisory in data.list() {
        let vendor = &advisory.vendor;
        for text in &advisory.pattern_tests.no_exact_match {
            let found = found(&[(Field::Device, text)], &[(Field::Msh4, vendor)]);
            assert!(
                !found.iter().any(|f| f.starts_with(&format!("{} exact", advisory.id))),
                "{}: {text}: {found:?}",
                advisory.id
            );
        }
    }
}

#[test]
fn a_product_that_is_named_is_exact_and_shows_the_words() {
    assert_eq!(found(&[(Field::Msh3, "CMS8000^V2")], &[]), ["ICSMA-25-030-01 exact CMS8000", "ICSMA-22-244-01 exact CMS8000"]);
    assert_eq!(
        found(&[(Field::Device, "IntelliVue MX40")], &[]).iter().filter(|f| f.contains("17-255-01")).collect::<Vec<_>>(),
        ["ICSMA-17-255-01 exact MX40"]
    );
}

#[test]
fn a_short_name_needs_its_vendor_elsewhere() {
    assert_eq!(found(&[(Field::Device, "MN-120")], &[]), Vec::<String>::new());
    assert_eq!(found(&[(Field::Device, "MN-120"), (Field::Msh4, "EPSIMED")], &[])[0], "ICSMA-25-030-01 exact MN-120");
    assert_eq!(found(&[(Field::Device, "B450")], &[(Field::Msh4, "GE Healthcare")]), ["ICSMA-20-023-01 exact B450"]);
    assert_eq!(found(&[(Field::Device, "B40_GE")], &[]), Vec::<String>::new());
    // The vendor alone, in the header of the gateway, is no match of a device behind it.
    assert_eq!(found(&[(Field::Device, "other")], &[(Field::Msh4, "GE Healthcare")]), Vec::<String>::new());
}

#[test]
fn a_family_and_a_vendor_are_told_as_such() {
    assert_eq!(found(&[(Field::Msh3, "CMS6000")], &[]), ["ICSMA-25-030-01 family CMS6000"]);
    assert_eq!(found(&[(Field::Msh3, "GE_CARESCAPE")], &[]), ["ICSMA-20-023-01 family CARESCAPE"]);
    assert_eq!(found(&[(Field::Msh4, "NIHON KOHDEN")], &[]), ["ICSMA-25-296-01 vendor NIHON KOHDEN"]);
    assert!(Level::Exact < Level::Family && Level::Family < Level::Vendor);
    // A vendor that the site itself has written down is one step surer.
    assert_eq!(found(&[(Field::Site, "Nihon Kohden")], &[]), ["ICSMA-25-296-01 family Nihon Kohden"]);
    assert!(found(&[(Field::Msh4, "Dra\u{308}ger")], &[])[0].starts_with("ICSMA-19-022-01 vendor"));
}

#[test]
fn a_declared_version_never_clears_an_entry() {
    let data = Advisories::shipped();
    let text = normalised("NEXTGEN Mirth Connect 9.9.9");
    let list = data.matches(&[Input { field: Field::Sft, text: &text, own: true }]);
    assert_eq!(list.len(), 2);
    for found in &list {
        assert_eq!(data.version_state(found, &["9.9.9".into()]), VersionState::NotListed);
        assert_eq!(data.version_state(found, &[]), VersionState::Unknown);
    }
    let family = Match { level: Level::Family, ..list[0].clone() };
    assert_eq!(data.version_state(&family, &["4.0.0".into()]), VersionState::Unknown);
}

const ENTRY: &str = r#"
schema = "advisories/1"
data_date = "2026-10-01"
[[advisory]]
id = "SITE-1"
title = "t"
date = "2026-01-01"
revised = "2026-01-02"
vendor = "v"
kind = "k"
products = [{ product = "p", versions = ["all versions"] }]
cves = [{ id = "CVE-2026-1234", cvss3 = 7.5, cvss3_vector = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N" }]
summary = "s"
why_it_matters_here = "w"
known_exploited = false
patterns = [{ confidence = "exact", regex = '\bacme\s?1\b' }]
pattern_tests = { match = ["acme1"], no_exact_match = ["acme12"] }
url = "https://example.invalid/1"
source = "x"
"#;

#[test]
fn a_typo_is_named_by_entry_and_key() {
    assert!(Advisories::read(ENTRY, "f").is_ok());
    let twice = format!("{ENTRY}{}", &ENTRY[ENTRY.find("[[").unwrap()..]);
    let cases: [(&str, &str, &str); 15] = [
        ("vendor = \"v\"", "vendr = \"v\"", "f: advisory SITE-1: vendr: unknown field `vendr`"),
        ("kind = \"k\"\n", "", "f: advisory SITE-1: kind: missing field `kind`"),
        ("cvss3 = 7.5", "cvss3 = 17.5", "f: advisory SITE-1: cves.0.cvss3: a CVSS score lies between 0 and 10"),
        ("C:H/I:N/A:N", "C:H/I:N", "f: advisory SITE-1: cves.0.cvss3_vector: "),
        ("CVE-2026-1234", "CVE-26-1", "f: advisory SITE-1: cves.0.id: \"CVE-26-1\" is no CVE id"),
        ("date = \"2026-01-01\"", "date = \"2026-02-30\"", "f: advisory SITE-1: date: \"2026-02-30\" is no date"),
        ("revised = \"2026-01-02\"", "revised = \"2025-01-02\"", "f: advisory SITE-1: revised: "),
        ("acme\\s?1\\b'", "acme(1'", "f: advisory SITE-1: patterns.0.regex: "),
        ("'\\bacme\\s?1\\b'", "'(?=acme)'", "f: advisory SITE-1: patterns.0.regex: "),
        ("'\\bacme\\s?1\\b'", "'(acme)?'", "f: advisory SITE-1: patterns.0.regex: \"(acme)?\": matches the empty text"),
        ("'\\bacme\\s?1\\b'", "'(\\w{1000}){1000}'", "f: advisory SITE-1: patterns.0.regex: "),
        ("confidence = \"exact\"", "confidence = \"sure\"", "f: advisory SITE-1: patterns.confidence: "),
        ("match = [\"acme1\"]", "match = [\"other\"]", "f: advisory SITE-1: pattern_tests.match: no pattern matches \"other\""),
        ("product = \"p\", ", "product = 3, ", "f: advisory SITE-1: products.product: "),
        ("data_date = \"2026-10-01\"", "data_date = \"10/2026\"", "f: data_date: \"10/2026\" is no date"),
    ];
    for (from, to, said) in cases {
        let text = ENTRY.replacen(from, to, 1);
        assert_ne!(text, ENTRY, "{from}");
        let error = Advisories::read(&text, "f").expect_err(to).to_string();
        assert!(error.starts_with(said), "{to}: {error}");
    }
    assert_eq!(Advisories::read(&twice, "f").unwrap_err().to_string(), "f: advisory SITE-1: id: stands twice in this file");
    assert!(Advisories::read("schema = ", "f").unwrap_err().to_string().starts_with("f: "));
}

#[test]
fn a_sites_file_extends_and_replaces_by_id() {
    let shipped = Advisories::shipped();
    let more = shipped.extended(ENTRY, "site.toml").unwrap();
    assert_eq!((more.list().len(), more.data_date()), (28, "2026-10-01"));
    let own = ENTRY.replace("SITE-1", "ICSMA-25-030-01").replace("data_date = \"2026-10-01\"", "");
    let replaced = shipped.extended(&own, "site.toml").unwrap();
    assert_eq!((replaced.list().len(), replaced.data_date()), (27, "2026-09-30"));
    assert_eq!(replaced.find("ICSMA-25-030-01").unwrap().title, "t");
    assert_ne!(replaced.hash(), shipped.hash());
    assert_eq!(more.age_days(Timestamp::from_civil(2026, 12, 30, 12, 0, 0, 0).unwrap()), 90.0);
}

#[test]
fn no_sentence_promises_or_accuses() {
    let texts = |a: &Advisory| {
        let mut all = vec![a.title.clone(), a.summary.clone(), a.why_it_matters_here.clone()];
        all.extend(a.notes.clone());
        all.extend(a.network_indicators.iter().map(|i| i.meaning.clone()));
        all.join(" ").to_lowercase()
    };
    let data = Advisories::shipped();
    let mut all: Vec<String> = data.list().iter().map(texts).collect();
    all.extend([Level::Exact, Level::Family, Level::Vendor].map(|l| l.wording().to_owned()));
    all.extend([data.none_known().to_lowercase(), data.coverage().to_lowercase()]);
    for text in all {
        for word in text.split(|c: char| !c.is_alphanumeric()) {
            assert!(!["safe", "vulnerable", "backdoor"].contains(&word), "{word}: {text}");
        }
    }
    assert_eq!(data.none_known(), "No advisory known in the data of 2026-09-30");
}
