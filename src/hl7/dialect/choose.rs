//! Which dialect a message is written in: every table counts the features of the header that are its own, the heaviest wins.

use super::super::{Field, Message, Segment};
use super::{Path, Tables};

/// What must hold of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// One of these, without regard to case.
    Is(Vec<String>),
    /// Begins with one of these.
    Prefix(Vec<String>),
    /// Contains one of these.
    Contains(Vec<String>),
    /// Nothing was sent.
    Empty,
    /// Something was sent.
    Filled,
    /// A number of at most so many digits.
    Digits(usize),
    /// A number of 14 digits or more: a time.
    Stamp,
}

/// One feature of a header: all fields pass the test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    pub fields: Vec<Path>,
    pub test: Test,
    pub weight: u32,
}

/// How well one table fits one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub dialect: &'static str,
    /// Sum of the weights of what was found.
    pub score: u32,
    /// What is needed to be chosen.
    pub least: u32,
    /// The features that were found, in words (`OBX-3.3 is MDIL (4)`).
    pub features: Vec<String>,
}

/// The first segment of every kind that a dialect is recognised by.
#[derive(Debug, Clone, Copy)]
pub struct Firsts<'a> {
    message: Message<'a>,
    pub obr: Option<Segment<'a>>,
    pub obx: Option<Segment<'a>>,
}

impl<'a> Firsts<'a> {
    /// The header alone.
    pub fn header(message: &Message<'a>) -> Firsts<'a> {
        Firsts { message: *message, obr: None, obx: None }
    }

    pub fn of(message: &Message<'a>) -> Firsts<'a> {
        let mut firsts = Firsts::header(message);
        for segment in message.segments() {
            match segment.name() {
                b"OBR" if firsts.obr.is_none() => firsts.obr = Some(segment),
                b"OBX" => {
                    firsts.obx = Some(segment);
                    break;
                }
                _ => {}
            }
        }
        firsts
    }

    /// The field; `None` where its segment is not there.
    fn get(&self, path: Path) -> Option<Field<'a>> {
        match &path.segment {
            b"MSH" => Some(path.within(self.message.msh(path.field as usize))),
            b"OBR" => self.obr.as_ref().map(|segment| path.of(segment)),
            b"OBX" => self.obx.as_ref().map(|segment| path.of(segment)),
            _ => None,
        }
    }
}

impl Feature {
    /// Segments and fields that features may look at: what the choice is remembered by.
    pub fn allowed(path: Path) -> bool {
        matches!((&path.segment, path.field), (b"MSH", 3..=21) | (b"OBR", 4) | (b"OBX", 3 | 6)) && path.field != 7
    }

    /// Whether it is about MSH-10, which differs from message to message.
    pub(super) fn of_control_id(&self) -> bool {
        self.fields.iter().any(|path| &path.segment == b"MSH" && path.field == 10)
    }

    pub(super) fn holds(&self, firsts: &Firsts<'_>) -> bool {
        self.fields.iter().all(|path| firsts.get(*path).is_some_and(|field| self.test.passes(field)))
    }

    /// The same where MSH-10 was found already.
    pub(super) fn holds_of(&self, control_id: Field<'_>, firsts: &Firsts<'_>) -> bool {
        self.fields.iter().all(|path| match (&path.segment, path.field) {
            (b"MSH", 10) => self.test.passes(path.within(control_id)),
            _ => firsts.get(*path).is_some_and(|field| self.test.passes(field)),
        })
    }
}

impl Test {
    fn passes(&self, field: Field<'_>) -> bool {
        let text = field.text();
        let text = text.trim();
        match self {
            Test::Is(words) => words.iter().any(|word| word.eq_ignore_ascii_case(text)),
            Test::Prefix(words) => words.iter().any(|word| begins(text, word)),
            Test::Contains(words) => {
                let text = text.to_ascii_lowercase();
                words.iter().any(|word| text.contains(&word.to_ascii_lowercase()))
            }
            Test::Empty => field.is_empty() || text.is_empty(),
            Test::Filled => !field.is_empty(),
            Test::Stamp => text.len() >= 14 && text.bytes().all(|b| b.is_ascii_digit()),
            Test::Digits(most) => !text.is_empty() && text.len() <= *most && text.bytes().all(|b| b.is_ascii_digit()),
        }
    }
}

fn begins(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

/// As a person reads it.
impl std::fmt::Display for Feature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields: Vec<String> = self.fields.iter().map(Path::to_string).collect();
        write!(f, "{} ", fields.join(", "))?;
        match &self.test {
            Test::Is(words) => write!(f, "is {}", words.join(" or "))?,
            Test::Prefix(words) => write!(f, "begins with {}", words.join(" or "))?,
            Test::Contains(words) => write!(f, "contains {}", words.join(" or "))?,
            Test::Empty => write!(f, "empty")?,
            Test::Filled => write!(f, "sent")?,
            Test::Stamp => write!(f, "a number of 14 digits or more")?,
            Test::Digits(most) => write!(f, "a number of at most {most} digits")?,
        }
        write!(f, " ({})", self.weight)
    }
}

/// Every table, best first; equals in the order of the tables.
pub(super) fn all(tables: &Tables, firsts: &Firsts<'_>) -> Vec<Choice> {
    let mut choices: Vec<Choice> = tables
        .iter()
        .map(|table| {
            let found: Vec<&Feature> = table.features.iter().filter(|feature| feature.holds(firsts)).collect();
            Choice {
                dialect: table.name,
                score: found.iter().map(|feature| feature.weight).sum(),
                least: table.least,
                features: found.iter().map(|feature| feature.to_string()).collect(),
            }
        })
        .collect();
    choices.sort_by_key(|choice| (choice.score < choice.least, std::cmp::Reverse(choice.score)));
    choices
}

/// The best table whose features suffice; the first of equals.
pub(super) fn best(tables: &Tables, firsts: &Firsts<'_>) -> Option<u16> {
    let mut best: Option<(u32, u16)> = None;
    for (at, table) in tables.iter().enumerate() {
        let score: u32 = table.features.iter().filter(|feature| feature.holds(firsts)).map(|feature| feature.weight).sum();
        let enough = !table.features.is_empty() && score >= table.least;
        if enough && best.is_none_or(|(most, _)| score > most) {
            best = Some((score, at as u16));
        }
    }
    best.map(|(_, at)| at)
}
