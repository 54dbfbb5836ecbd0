//! One field and what is inside it. Nothing is allocated but text with escapes.

use super::{Delimiters, escape};
use std::borrow::Cow;

/// One field, repetition, component or sub-component: raw bytes and what splits them further.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    pub(super) text: &'a [u8],
    pub(super) start: u32,
    pub(super) delimiters: Delimiters,
}

impl<'a> Field<'a> {
    /// As sent, escapes untouched.
    pub fn raw(&self) -> &'a [u8] {
        self.text
    }
    /// As sent, blanks and line ends around it taken off.
    pub fn trimmed(&self) -> &'a [u8] {
        self.text.trim_ascii()
    }
    /// Where it stands in the message's text.
    pub fn span(&self) -> crate::observation::Span {
        crate::observation::Span { start: self.start, len: self.text.len() as u32 }
    }
    /// Nothing sent, blanks only, or `""` (HL7 null).
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() || matches!(self.trimmed(), b"" | b"\"\"")
    }
    /// `""`: the sender says that there is no value (and an update would delete the old one).
    pub fn is_null(&self) -> bool {
        self.trimmed() == b"\"\""
    }
    /// The delimiters that split it further.
    pub fn delimiters(&self) -> Delimiters {
        self.delimiters
    }
    /// Its repetitions: one at least, even of an empty field.
    pub fn repetitions(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        self.split(self.delimiters.repetition)
    }
    /// The components of the first repetition: one at least.
    pub fn components(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        self.nth(self.delimiters.repetition, 0).split(self.delimiters.component)
    }
    /// Component `n` from 1, of the first repetition; empty where there are fewer.
    #[inline]
    pub fn component(&self, n: usize) -> Field<'a> {
        self.nth(self.delimiters.repetition, 0).nth(self.delimiters.component, n.wrapping_sub(1))
    }
    /// The sub-components: one at least.
    pub fn subcomponents(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        self.split(self.delimiters.subcomponent)
    }
    /// Sub-component `n` from 1; empty where there are fewer.
    pub fn subcomponent(&self, n: usize) -> Field<'a> {
        self.nth(self.delimiters.subcomponent, n.wrapping_sub(1))
    }
    /// Decoded text: escapes resolved after splitting, unknown ones kept; blanks around it trimmed.
    pub fn text(&self) -> Cow<'a, str> {
        match escape::unescape(self.trimmed(), &self.delimiters) {
            // A message is UTF-8: the search for what is none costs four times the look whether it is.
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed),
            Cow::Owned(bytes) => {
                let text =
                    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
                let trimmed = text.trim_ascii();
                Cow::Owned(if trimmed.len() == text.len() { text } else { trimmed.to_owned() })
            }
        }
    }
    /// The trimmed bytes as text, escapes untouched, never allocating; empty where they are no UTF-8 (they are, in a message).
    pub fn str(&self) -> &'a str {
        std::str::from_utf8(self.trimmed()).unwrap_or_default()
    }
    /// A non-negative whole number of at most nine digits (set ids, codes, ports); `None` for all else.
    pub fn integer(&self) -> Option<u32> {
        let digits = self.trimmed();
        let plain = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        plain.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
    }

    #[inline]
    fn cut(&self, from: usize, to: usize) -> Field<'a> {
        Field { text: &self.text[from..to], start: self.start + from as u32, delimiters: self.delimiters }
    }
    #[inline]
    fn nth(&self, delimiter: u8, n: usize) -> Field<'a> {
        let mut from = 0;
        for _ in 0..n {
            match self.text[from..].iter().position(|&byte| byte == delimiter) {
                Some(len) => from += len + 1,
                None => return self.cut(self.text.len(), self.text.len()),
            }
        }
        let len = self.text[from..].iter().position(|&byte| byte == delimiter);
        self.cut(from, len.map_or(self.text.len(), |len| from + len))
    }
    fn split(&self, delimiter: u8) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let whole = *self;
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let from = next?;
            let len = whole.text[from..].iter().position(|&byte| byte == delimiter);
            next = len.map(|len| from + len + 1);
            Some(whole.cut(from, len.map_or(whole.text.len(), |len| from + len)))
        })
    }
}
