//! One segment of a message, and its fields by HL7's counting.

use super::{Delimiters, FIELDS_MAX, Field, scan};

/// One segment.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    pub(super) text: &'a [u8],
    pub(super) start: u32,
    pub(super) delimiters: Delimiters,
}

impl<'a> Segment<'a> {
    /// `OBX`; shorter or longer if that is what was sent.
    pub fn name(&self) -> &'a [u8] {
        self.text[..self.name_len()].trim_ascii_end()
    }
    /// Whether it is called that.
    #[inline]
    pub fn is(&self, name: &[u8; 3]) -> bool {
        self.text.starts_with(name) && (self.text.get(3) == Some(&self.delimiters.field) || self.name() == name)
    }
    fn name_len(&self) -> usize {
        if self.text.get(3) == Some(&self.delimiters.field) {
            return 3;
        }
        memchr::memchr(self.delimiters.field, self.text).unwrap_or(self.text.len())
    }
    /// Its bytes without the CR, and where they start in the message's text.
    pub fn text(&self) -> (&'a [u8], u32) {
        (self.text, self.start)
    }
    /// Where it stands in the message's text.
    pub fn span(&self) -> crate::observation::Span {
        crate::observation::Span { start: self.start, len: self.text.len() as u32 }
    }
    /// MSH, FHS and BHS count their separator as their first field.
    pub(super) fn counts_separator(&self) -> bool {
        matches!(self.text.first_chunk::<3>(), Some(b"MSH" | b"FHS" | b"BHS"))
    }
    #[inline]
    fn piece(&self, from: usize, to: usize) -> Field<'a> {
        Field { text: &self.text[from..to], start: self.start + from as u32, delimiters: self.delimiters }
    }
    /// Field `n` by HL7's counting (MSH-1 is the separator itself); empty where the segment is shorter. `field(0)` is empty.
    pub fn field(&self, n: usize) -> Field<'a> {
        let none = self.piece(self.text.len(), self.text.len());
        let at = self.name_len();
        let skip = n.wrapping_sub(1 + usize::from(self.counts_separator()));
        if skip == usize::MAX && n == 1 && at < self.text.len() {
            return self.piece(at, at + 1);
        }
        if n > FIELDS_MAX || skip > FIELDS_MAX || at == self.text.len() {
            return none;
        }
        let mut from = at + 1;
        for _ in 0..skip {
            match self.text[from..].iter().position(|&byte| byte == self.delimiters.field) {
                Some(len) => from += len + 1,
                None => return none,
            }
        }
        let len = self.text[from..].iter().position(|&byte| byte == self.delimiters.field);
        self.piece(from, len.map_or(self.text.len(), |len| from + len))
    }
    /// Fields `1..=N` in one pass: `fields::<18>()[4]` is OBX-5.
    #[inline]
    pub fn fields<const N: usize>(&self) -> [Field<'a>; N] {
        let at = self.name_len();
        let mut fields = [self.piece(self.text.len(), self.text.len()); N];
        if at == self.text.len() {
            return fields;
        }
        let mut places = fields.iter_mut();
        if self.counts_separator()
            && let Some(place) = places.next()
        {
            *place = self.piece(at, at + 1);
        }
        let mut from = at + 1;
        scan::each(&self.text[from..], self.delimiters.field, |place| {
            let end = at + 1 + place;
            let Some(field) = places.next() else { return false };
            *field = self.piece(from, end);
            from = end + 1;
            true
        });
        if let Some(field) = places.next() {
            *field = self.piece(from, self.text.len());
        }
        fields
    }
    /// How many fields were sent, by HL7's counting; at most [`FIELDS_MAX`].
    pub fn field_count(&self) -> usize {
        let at = self.name_len();
        let separators = memchr::memchr_iter(self.delimiters.field, &self.text[at..]).take(FIELDS_MAX).count();
        if separators == 0 { 0 } else { (separators + usize::from(self.counts_separator())).min(FIELDS_MAX) }
    }
}
