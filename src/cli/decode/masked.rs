//! The texts of a message as `decode` shows them when identities are masked ([`mask`] has the list of what may be seen).

use crate::hl7::mask;
use crate::hl7::tree::{Leaf, Tree};

/// Longest text that is shown, characters (waveforms and encapsulated data are long).
const TEXT_CHARS_MAX: usize = 100;

/// The text of a leaf as it is shown.
pub(super) fn shown(leaf: &Leaf, tree: &Tree, unmasked: bool) -> String {
    if !unmasked && !visible(&leaf.path, tree) {
        return "(masked)".into();
    }
    let mut text: String = leaf.text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS_MAX).collect();
    let rest = leaf.text.chars().count().saturating_sub(TEXT_CHARS_MAX);
    if rest > 0 {
        text.push_str(&format!("… ({rest} more)"));
    }
    text
}

/// Whether a place may be seen.
fn visible(path: &str, tree: &Tree) -> bool {
    let Some((name, rest)) = path.split_once('[') else { return path.starts_with('(') };
    let Some((number, place)) = rest.split_once("]-") else { return false };
    let field: usize = place.split(['.', '[']).next().and_then(|n| n.parse().ok()).unwrap_or(0);
    mask::shows(name.as_bytes(), field, number_type(name, number, tree))
}

/// Whether OBX-5 is declared a number or samples of a waveform, and so no text.
fn number_type(name: &str, number: &str, tree: &Tree) -> bool {
    tree.get(&format!("{name}[{number}]-2")).is_some_and(|declared| mask::is_number_type(declared.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7::{Message, Scratch, tree};

    #[test]
    fn what_may_name_someone_is_hidden() {
        let text = "MSH|^~\\&|MON|ICU|||20260101120000|TOKEN|ORU^R01|17|P|2.6\rPID|||S-1^^^K^MR||SECRET^ADA\rPV1||I|SECRETWARD^^1\r\
                    OBR|1|SECRETORDER||X^Y\rOBX|1|NM|147842^HR^MDC||72|/min|||||F|||20260101120000||SECRETNURSE||SECRETDEVICE\r\
                    OBX|2|TX|1^Note^L||SECRETTEXT||||||F\rNTE|1||SECRETNOTE\rZPI|SECRETZ\rOBX|3||2^Note^L||SECRETNOTYPE";
        let mut scratch = Scratch::default();
        let message = Message::read(text.as_bytes(), &mut scratch).unwrap();
        let tree = tree::tree(&message).unwrap();
        let all = |unmasked| -> String {
            tree.leaves.iter().map(|leaf| format!("{} {}\n", leaf.path, shown(leaf, &tree, unmasked))).collect()
        };
        let hidden = all(false);
        assert!(!hidden.contains("SECRET") && !hidden.contains("TOKEN") && !hidden.contains("S-1"), "{hidden}");
        for seen in
            ["MSH[1]-9.1 ORU", "OBX[1]-5 72", "OBX[1]-3.1 147842", "OBX[1]-14 2026", "PID[1]-5.1 (masked)", "OBX[2]-5 (masked)"]
        {
            assert!(hidden.contains(seen), "{seen} in\n{hidden}");
        }
        assert!(all(true).contains("SECRETNOTE"));
    }
}
