//! Batches: FHS and BHS envelopes taken off, the messages inside handed out as they are, the trailers' counts compared.
//!
//! The same function splits a recorded file of several messages without envelope. Nothing is copied. What belongs to no
//! message (an EVN straight after BHS) is counted as stray, never guessed into one.

/// What a payload holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Each from its MSH up to the next envelope or message, line ends included.
    pub messages: Vec<&'a [u8]>,
    /// BHS segments.
    pub batches: usize,
    /// FHS segments.
    pub files: usize,
    pub faults: BatchFaults,
}

/// What was wrong with the envelopes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchFaults {
    /// BTS-1 differs from the number of messages, or FTS-1 from the number of batches.
    pub count_mismatch: bool,
    /// An FHS without FTS or a BHS without BTS, or the other way round.
    pub unclosed: bool,
    /// Lines that belong to no message.
    pub stray_lines: usize,
}

impl BatchFaults {
    pub fn any(self) -> bool {
        self != BatchFaults::default()
    }
}

/// Whether a payload begins with an envelope (after a byte order mark, blanks or NULs).
pub fn is_batch(payload: &[u8]) -> bool {
    let front = payload.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(payload);
    let blanks = front.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0 | crate::mllp::VT)).count();
    matches!(kind(&front[blanks..]), Kind::Fhs | Kind::Bhs)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Fhs,
    Bhs,
    Msh,
    Bts,
    Fts,
    Other,
    Blank,
}

fn kind(line: &[u8]) -> Kind {
    let Some(name) = line.first_chunk::<3>() else {
        return if line.trim_ascii().is_empty() { Kind::Blank } else { Kind::Other };
    };
    if line.get(3).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80) {
        return Kind::Other;
    }
    match name {
        b"FHS" => Kind::Fhs,
        b"BHS" => Kind::Bhs,
        b"MSH" => Kind::Msh,
        b"BTS" => Kind::Bts,
        b"FTS" => Kind::Fts,
        _ if line.iter().all(|&byte| byte.is_ascii_whitespace() || byte == 0) => Kind::Blank,
        _ => Kind::Other,
    }
}

/// The count in BTS-1 or FTS-1, if there is one.
fn count(line: &[u8]) -> Option<usize> {
    let separator = *line.get(3)?;
    let field = line[4..].split(|&byte| byte == separator || byte == b'\r' || byte == b'\n').next()?.trim_ascii();
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Splits a payload into its messages: one for the usual message (returned whole), none where there is no MSH.
pub fn split_batch(payload: &[u8]) -> Batch<'_> {
    let mut batch = Batch::default();
    // Where the open message began, the open batch's message count and the open file's batch count.
    let (mut message, mut in_batch, mut in_file): (Option<usize>, Option<usize>, Option<usize>) = (None, None, None);
    let mut start = 0;
    while start < payload.len() {
        let end = memchr::memchr2(b'\r', b'\n', &payload[start..]).map_or(payload.len(), |len| start + len + 1);
        let front = &payload[start..end];
        let skip = front.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t' | 0 | crate::mllp::VT)).count();
        let skip = if front[skip..].starts_with(b"\xEF\xBB\xBF") { skip + 3 } else { skip };
        let line = &front[skip..];
        let kind = kind(line);
        if !matches!(kind, Kind::Other | Kind::Blank)
            && let Some(from) = message.take()
        {
            batch.messages.push(&payload[from..start]);
        }
        match kind {
            Kind::Fhs => {
                batch.files += 1;
                batch.faults.unclosed |= in_file.replace(0).is_some() || in_batch.take().is_some();
            }
            Kind::Bhs => {
                batch.batches += 1;
                batch.faults.unclosed |= in_batch.replace(0).is_some();
                in_file = in_file.map(|batches| batches + 1);
            }
            Kind::Msh => {
                message = Some(start + skip);
                in_batch = in_batch.map(|messages| messages + 1);
            }
            Kind::Bts => match in_batch.take() {
                Some(messages) => batch.faults.count_mismatch |= count(line).is_some_and(|count| count != messages),
                None => batch.faults.unclosed = true,
            },
            Kind::Fts => {
                batch.faults.unclosed |= in_batch.take().is_some();
                match in_file.take() {
                    Some(batches) => batch.faults.count_mismatch |= count(line).is_some_and(|count| count != batches),
                    None => batch.faults.unclosed = true,
                }
            }
            Kind::Other if message.is_none() => batch.faults.stray_lines += 1,
            Kind::Other | Kind::Blank => {}
        }
        start = end;
    }
    if let Some(from) = message {
        batch.messages.push(&payload[from..]);
    }
    batch.faults.unclosed |= in_batch.is_some() || in_file.is_some();
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "MSH|^~\\&|A\rPID|1\r";
    const TWO: &str = "MSH|^~\\&|B\rPID|2\r";

    #[test]
    fn an_envelope_is_taken_off() {
        let payload = format!("FHS|^~\\&|X\rBHS|^~\\&|X\r{ONE}{TWO}BTS|2\rFTS|1\r");
        assert!(is_batch(payload.as_bytes()));
        let batch = split_batch(payload.as_bytes());
        assert_eq!(batch.messages, [ONE.as_bytes(), TWO.as_bytes()]);
        assert_eq!((batch.files, batch.batches, batch.faults.any()), (1, 1, false));
    }

    #[test]
    fn trailers_are_counted() {
        let short = format!("BHS|^~\\&|X\r{ONE}BTS|2\r");
        assert!(split_batch(short.as_bytes()).faults.count_mismatch);
        let files = format!("FHS|^~\\&\rBHS|^~\\&\r{ONE}BTS|1\rBHS|^~\\&\r{TWO}BTS\rFTS|3\r");
        let batch = split_batch(files.as_bytes());
        assert_eq!((batch.messages.len(), batch.batches, batch.faults.count_mismatch), (2, 2, true));
        let open = format!("FHS|^~\\&\r{ONE}");
        assert!(split_batch(open.as_bytes()).faults.unclosed);
        assert!(split_batch(format!("{ONE}BTS|1\r").as_bytes()).faults.unclosed);
    }

    #[test]
    fn lines_without_message_are_stray() {
        let batch = split_batch(b"BHS|^~\\&|X\rEVN|A04\rPID|1\rBTS|1\r");
        assert_eq!((batch.messages.len(), batch.faults.stray_lines, batch.faults.count_mismatch), (0, 2, true));
    }

    #[test]
    fn a_file_of_messages_is_split_with_any_line_end() {
        for end in ["\r", "\n", "\r\n", "\r\n\r\n"] {
            let payload = format!("{ONE}{TWO}").replace('\r', end);
            let batch = split_batch(payload.as_bytes());
            assert_eq!(batch.messages.len(), 2, "{end:?}");
            assert_eq!(batch.messages.concat(), payload.as_bytes());
            assert!(!is_batch(payload.as_bytes()));
        }
        assert_eq!(split_batch(ONE.as_bytes()).messages, [ONE.as_bytes()]);
        assert_eq!(split_batch(b"\xEF\xBB\xBFBHS|^~\\&\rMSH|^~\\&|A\rBTS|1").messages.len(), 1);
        assert_eq!(split_batch(b"").messages.len(), 0);
        assert_eq!(split_batch(b"MSHELL|x").messages.len(), 0);
    }
}
