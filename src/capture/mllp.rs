//! MLLP in one direction of a connection, found by its content: VT and a header, at whatever port.
//!
//! Before it is found, bytes are looked at and dropped. After a gap the frame that was begun is given up, and the next one is
//! looked for again: nothing is taken for a message that begins in the middle of one.

use crate::mllp::{Decoder, Event, VT};

#[derive(Debug)]
enum State {
    Looking,
    Framing(Box<Decoder>),
}

/// One direction.
#[derive(Debug)]
pub(super) struct Feed {
    state: State,
    /// The last bytes, while a VT in them has not told yet what follows.
    tail: Vec<u8>,
    /// A frame was found before.
    pub found: bool,
    /// Bytes between a loss and the next frame.
    pub skipped: u64,
    /// Nothing was heard yet.
    fresh: bool,
    /// It began as TLS: nothing in it can be read.
    pub tls: bool,
}

impl Feed {
    pub fn new() -> Feed {
        Feed { state: State::Looking, tail: Vec::new(), found: false, skipped: 0, fresh: true, tls: false }
    }

    /// Memory that it holds, bytes.
    pub fn held_bytes(&self) -> usize {
        match &self.state {
            State::Looking => self.tail.capacity(),
            State::Framing(decoder) => decoder.held_bytes(),
        }
    }

    /// Takes bytes in order. `begun`: the connection's beginning was captured, so that its first bytes are the first.
    pub fn take(&mut self, bytes: &[u8], begun: bool, frame_bytes_max: usize, events: &mut Vec<Event>) {
        match &mut self.state {
            State::Framing(decoder) => decoder.push(bytes),
            State::Looking => {
                let fresh = std::mem::replace(&mut self.fresh, false);
                self.tls |= fresh && begun && bytes.starts_with(&[0x16, 0x03]);
                let joined;
                let all = if self.tail.is_empty() {
                    bytes
                } else {
                    joined = [&std::mem::take(&mut self.tail), bytes].concat();
                    &joined
                };
                // A sender that leaves out the VT is heard from the first byte of its connection only.
                let bare = if fresh && begun { header(all) } else { Some(false) };
                let (start, undecided) = match bare {
                    Some(true) => (Some(0), None),
                    Some(false) => look(all),
                    None => {
                        self.fresh = true;
                        (None, Some(0))
                    }
                };
                match start {
                    Some(start) => {
                        self.skipped += if self.found { start as u64 } else { 0 };
                        self.found = true;
                        let mut decoder = Box::new(Decoder::new(frame_bytes_max));
                        decoder.push(&all[start..]);
                        self.state = State::Framing(decoder);
                    }
                    None => {
                        let keep = undecided.unwrap_or(all.len());
                        self.skipped += if self.found { keep as u64 } else { 0 };
                        self.tail = all[keep..].to_vec();
                        return;
                    }
                }
            }
        }
        if let State::Framing(decoder) = &mut self.state {
            while let Some(event) = decoder.poll() {
                events.push(event);
            }
        }
    }

    /// Bytes were lost, or the connection has ended.
    pub fn lost(&mut self, events: &mut Vec<Event>) {
        if let State::Framing(decoder) = &mut self.state {
            while let Some(event) = decoder.finish() {
                events.push(event);
            }
        }
        self.state = State::Looking;
        self.fresh = false;
        self.tail = Vec::new();
    }
}

/// Where a frame begins; else where a VT stands that does not tell yet.
fn look(bytes: &[u8]) -> (Option<usize>, Option<usize>) {
    for at in memchr::memchr_iter(VT, bytes) {
        match header(&bytes[at + 1..]) {
            Some(true) => return (Some(at), None),
            // Only what is too short to tell.
            None => return (None, Some(at)),
            Some(false) => {}
        }
    }
    (None, None)
}

/// Whether a header or an envelope begins here, in any of the encodings; `None`: it cannot be told yet.
fn header(bytes: &[u8]) -> Option<bool> {
    const MARKS: [&[u8]; 4] = [b"", b"\xEF\xBB\xBF", b"\xFF\xFE", b"\xFE\xFF"];
    let mut open = false;
    for mark in MARKS {
        let Some(rest) = bytes.strip_prefix(mark) else {
            open |= mark.starts_with(bytes);
            continue;
        };
        for name in [b"MSH", b"FHS", b"BHS"] {
            let [a, b, c] = *name;
            for spelt in [&[a, b, c][..], &[a, 0, b, 0, c, 0], &[0, a, 0, b, 0, c]] {
                if !rest.starts_with(spelt) {
                    open |= rest.len() < spelt.len() && spelt.starts_with(rest);
                    continue;
                }
                match rest.get(spelt.len()) {
                    // A letter would make it another word.
                    Some(byte)
                        if spelt.len() == 3 && (byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'\r' | b'\n' | 0)) => {}
                    Some(_) => return Some(true),
                    None => open = true,
                }
            }
        }
    }
    if open { None } else { Some(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(pushes: &[&[u8]], begun: bool) -> Vec<String> {
        let (mut feed, mut events) = (Feed::new(), Vec::new());
        for bytes in pushes {
            feed.take(bytes, begun, 1000, &mut events);
        }
        feed.lost(&mut events);
        let text = |payload: &Vec<u8>| String::from_utf8_lossy(payload).into_owned();
        events
            .iter()
            .filter_map(|event| match event {
                Event::Frame { payload, .. } => Some(text(payload)),
                Event::Truncated { payload } => Some(format!("cut {}", text(payload))),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_frame_is_found_wherever_it_begins_and_however_it_is_cut() {
        let stream = b"est of a message|\r\x1c\r\x0bMSH|1\r\x1c\r\x0bMSH|2\r\x1c\r";
        for cut in 0..stream.len() {
            assert_eq!(frames(&[&stream[..cut], &stream[cut..]], false), ["MSH|1\r", "MSH|2\r"], "{cut}");
        }
        let one_by_one: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(frames(&one_by_one, false), ["MSH|1\r", "MSH|2\r"]);
    }

    #[test]
    fn other_traffic_is_none() {
        assert!(frames(&[b"GET / HTTP/1.1\r\n\x0b\x0bMSHX \x0bMS"], true).is_empty());
        assert!(frames(&[b"MSH|1\r"], false).is_empty(), "the middle of a connection needs a VT");
        assert_eq!(frames(&[b"MSH|1\r"], true), ["MSH|1\r"]);
    }

    #[test]
    fn after_a_loss_the_next_frame_is_looked_for() {
        let (mut feed, mut events) = (Feed::new(), Vec::new());
        feed.take(b"\x0bMSH|1\r", true, 1000, &mut events);
        feed.lost(&mut events);
        feed.take(b"MSH|no\rOBX|\r\x1c\r\x0bMSH|2\r\x1c\r", true, 1000, &mut events);
        assert!(matches!(&events[0], Event::Truncated { .. }), "{events:?}");
        assert!(matches!(&events[1], Event::Frame { payload, .. } if payload == b"MSH|2\r"), "{events:?}");
        assert_eq!((events.len(), feed.skipped), (2, 14));
    }
}
