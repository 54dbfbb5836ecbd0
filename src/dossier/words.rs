//! The drafts' own words.

use super::Language;
use crate::text::Words;

const fn words(en: &'static str, it: &'static str) -> Words {
    Words { en, it }
}

/// Header of every output.
pub const NOTICE: Words = words("DRAFT - not sent - fields not verified", "BOZZA - non inviata - campi non verificati");
/// A field that is not known.
pub const COMPLETE: Words = words("to be completed", "da completare");
pub const VERIFY: Words = words("verify against the text in force", "verificare sul testo in vigore");
pub const FILED_BY: Words = words(
    "Filing is done by a person, outside of this program. The program sends nothing to any authority.",
    "L'invio è fatto da una persona, fuori da questo programma. Il programma non invia nulla ad alcuna autorità.",
);
pub const YES: Words = words("yes", "sì");
pub const NO: Words = words("no", "no");
pub const FEED: Words = words("feed", "flusso");
pub const JOURNAL: Words = words("journal,", "giornale,");
pub const OPERATOR: Words = words("operator", "operatore");
pub const ADVISORY: Words = words("advisory", "avviso di sicurezza");
pub const MATCHED: Words = words("matched words", "parole riconosciute");
pub const ALERT: Words = words("alert", "avviso");
pub const PROGRAM: Words = words("this program", "questo programma");
pub const RUNNING: Words = words("running", "in corso");
pub const INFORMATION: Words = words("for information", "a titolo informativo");
pub const WITHDRAWN: Words = words("stopped: confirmation withdrawn by", "fermato: conferma ritirata da");
pub const FILED: Words = words("filed, as stated by", "inviato, come indicato da");
pub const CASE: Words = words("Case, site", "Caso, sede");
pub const TO: Words = words("To", "A");
pub const CONDITION: Words = words("When", "Quando");
pub const MADE: Words = words("Made", "Creata");
pub const DATA: Words = words("Advisory data of", "Dati degli avvisi di sicurezza del");
pub const FIELD: Words = words("Field", "Campo");
pub const VALUE: Words = words("Value", "Valore");
pub const SOURCE: Words = words("Source", "Fonte");
pub const CLOCKS: Words = words("Terms", "Termini");
pub const TERM: Words = words("Term", "Termine");
pub const START: Words = words("Start (knowledge, as stated)", "Inizio (conoscenza, come indicata)");
pub const DUE: Words = words("End", "Scadenza");
pub const STATE: Words = words("State", "Stato");
pub const NO_CLOCK: Words = words(
    "No term runs: no person has confirmed a suspicion that this form is about.",
    "Nessun termine in corso: nessuna persona ha confermato un sospetto che riguardi questo modulo.",
);
pub const PROPOSALS: Words = words("Kind of incident", "Tipo di incidente");
pub const PROPOSAL_NOTE: Words = words(
    "A proposal for a person to decide, from the alerts of the case; not a finding, and no term starts with it.",
    "Una proposta, da decidere da una persona, tratta dagli avvisi del caso; non è un accertamento e non fa decorrere alcun termine.",
);
pub const NO_PROPOSAL: Words =
    words("The alerts of this case propose none.", "Gli avvisi di questo caso non ne propongono alcuna.");
pub const STATED: Words = words("Confirmed by a person", "Confermato da una persona");
pub const FILINGS: Words = words("Filed so far, as stated", "Già inviato, come indicato");
pub const LEGAL: Words = words("Legal source", "Fonte normativa");
pub const CONFIRMED: Words = words("confirmed by", "confermato da");

pub fn more(count: usize, language: Language) -> String {
    match language {
        Language::En => format!("{count} more values are not shown"),
        Language::It => format!("altri {count} valori non sono mostrati"),
    }
}
