//! What no sentence of ours says, for the tests of every catalogue.

/// Beginnings of words.
const NEVER: [&str; 17] = [
    "attack",
    "hack",
    "backdoor",
    "breach",
    "steal",
    "stolen",
    "malware",
    "vulnerable",
    "patched",
    "attacco",
    "attaccant",
    "pirat",
    "rubat",
    "rubando",
    "violat",
    "compromess",
    "60601",
];

/// Panics where `text` breaks the policy; `alarms`: it is about the bedside monitor's own alarms and may name them.
pub fn hold(place: &str, text: &str, alarms: bool) {
    let text = text.to_lowercase();
    for word in NEVER {
        // At the beginning of a word: "respiratorie" is none of them.
        let begins = |at: usize| !text[..at].ends_with(char::is_alphanumeric);
        assert!(!text.match_indices(word).any(|(at, _)| begins(at)), "{place}: {word:?} in {text:?}");
    }
    assert!(
        alarms || !text.contains("alarm") && !text.contains("allarm"),
        "{place}: an alarm is the bedside monitor's: {text:?}"
    );
}
