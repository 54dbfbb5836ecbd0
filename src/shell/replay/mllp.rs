//! Sends recorded messages to an MLLP listener, one at a time, in order: the next one leaves when the answer to the last has
//! come. A lost connection is opened again and the unanswered message sent again.

use super::{ReplayError, Sink};
use crate::mllp::{Decoder, Event, encode};
use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Without an answer for so long the connection counts as lost, seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts to reach the listener go on for so long, seconds.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// A message that gets no answer so often is given up, and counted.
const SENDS_MAX: u32 = 3;
/// Largest answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why sending stopped.
#[derive(Debug, thiserror::Error)]
pub enum MllpError {
    #[error("{0} is no MLLP address: mllp://HOST:PORT is meant")]
    Address(String),
    #[error("the listener at {address} cannot be reached: {cause}")]
    Unreachable { address: String, cause: std::io::Error },
}

/// Answers by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// AA and CA.
    pub accepted: u64,
    /// AE and CE.
    pub errors: u64,
    /// AR and CR.
    pub rejected: u64,
    /// Messages that asked for no answer.
    pub none_asked: u64,
    /// Given up without an answer.
    pub unanswered: u64,
    /// Connections opened after the first.
    pub reconnects: u64,
    /// Answers whose MSA-2 is not the id that was sent.
    pub mismatched: u64,
}

/// The sender.
pub struct Sender {
    address: String,
    connection: Option<(TcpStream, Decoder)>,
    opened: bool,
    frame: Vec<u8>,
    answers: Rc<RefCell<Answers>>,
}

impl Sender {
    /// A sender to `mllp://HOST:PORT`; the counters stay readable through the handle.
    pub fn new(url: &str) -> Result<(Sender, Rc<RefCell<Answers>>), MllpError> {
        let address = url.strip_prefix("mllp://").map(|rest| rest.trim_end_matches('/')).filter(|rest| rest.contains(':'));
        let address = address.ok_or_else(|| MllpError::Address(url.to_owned()))?.to_owned();
        let answers = Rc::new(RefCell::new(Answers::default()));
        Ok((Sender { address, connection: None, opened: false, frame: Vec::new(), answers: answers.clone() }, answers))
    }

    fn connect(&mut self) -> Result<(), MllpError> {
        let began = Instant::now();
        let mut wait = Duration::from_millis(100);
        loop {
            let tried = self.address.to_socket_addrs().and_then(|mut all| {
                let first = all.next().ok_or_else(|| std::io::Error::other("the name has no address"))?;
                let stream = TcpStream::connect_timeout(&first, Duration::from_secs(5))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_millis(250)))?;
                stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                Ok(stream)
            });
            match tried {
                Ok(stream) => {
                    if self.opened {
                        self.answers.borrow_mut().reconnects += 1;
                    }
                    self.opened = true;
                    self.connection = Some((stream, Decoder::new(ANSWER_BYTES_MAX)));
                    return Ok(());
                }
                // A listener that was there may come back; one that never was is a mistake of the caller.
                Err(cause) if !self.opened || began.elapsed() > GIVE_UP_AFTER => {
                    return Err(MllpError::Unreachable { address: self.address.clone(), cause });
                }
                Err(_) => {
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
            }
        }
    }

    /// Sends the frame that is prepared and waits for `expected` answers. `Ok(false)`: the connection is lost.
    fn exchange(&mut self, expected: u32, id: &[u8]) -> bool {
        let Some((stream, decoder)) = &mut self.connection else { return false };
        if stream.write_all(&self.frame).is_err() {
            return false;
        }
        let began = Instant::now();
        let mut left = expected;
        let mut buffer = [0u8; 4096];
        while left > 0 {
            while let Some(event) = decoder.poll() {
                if let Event::Frame { payload, .. } = event {
                    let mut answers = self.answers.borrow_mut();
                    let (code, of) = acknowledgement(&payload);
                    match code {
                        b"AA" | b"CA" => answers.accepted += 1,
                        b"AE" | b"CE" => answers.errors += 1,
                        b"AR" | b"CR" => answers.rejected += 1,
                        _ => continue,
                    }
                    if of != id {
                        answers.mismatched += 1;
                    }
                    left = left.saturating_sub(1);
                }
            }
            if left == 0 {
                break;
            }
            match stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(read) => decoder.push(&buffer[..read]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    if began.elapsed() > ANSWER_TIMEOUT {
                        return false;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

impl Sink for Sender {
    fn message(&mut self, payload: &[u8]) -> Result<(), ReplayError> {
        let (expected, id) = expectation(payload);
        self.frame.clear();
        encode(payload, &mut self.frame);
        for _ in 0..SENDS_MAX {
            if self.connection.is_none() {
                self.connect()?;
            }
            if self.exchange(expected, id) {
                if expected == 0 {
                    self.answers.borrow_mut().none_asked += 1;
                }
                return Ok(());
            }
            self.connection = None;
        }
        self.answers.borrow_mut().unanswered += 1;
        Ok(())
    }
}

/// How many answers MSH-15 and MSH-16 ask for, and MSH-10.
fn expectation(payload: &[u8]) -> (u32, &[u8]) {
    let Some(separator) = payload.get(3) else { return (1, &[]) };
    let header = payload.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
    let fields: Vec<&[u8]> = header.split(|b| b == separator).collect();
    let field = |n: usize| fields.get(n).copied().unwrap_or_default();
    // MSH-1 is the separator: MSH-n is piece n - 1.
    let (accept, application) = (field(14), field(15));
    let expected = if accept.is_empty() && application.is_empty() {
        1
    } else {
        // ER and SU answer only in some cases; a listener that stores everything answers SU.
        [accept, application].iter().filter(|word| matches!(**word, b"AL" | b"SU")).count() as u32
    };
    (expected, field(9))
}

/// MSA-1 and MSA-2.
fn acknowledgement(payload: &[u8]) -> (&[u8], &[u8]) {
    let Some(separator) = payload.get(3) else { return (&[], &[]) };
    let Some(line) = payload.split(|b| matches!(b, b'\r' | b'\n')).find(|line| line.starts_with(b"MSA")) else {
        return (&[], &[]);
    };
    let mut fields = line.split(|b| b == separator).skip(1);
    (fields.next().unwrap_or_default(), fields.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_waited_for() {
        let expected = |tail: &str| expectation(format!("MSH|^~\\&|A|B|||1||ORU^R01|X7|P|2.6{tail}\rPID|\r").as_bytes()).0;
        assert_eq!(expected(""), 1);
        assert_eq!(expected("|||AL|NE"), 1);
        assert_eq!(expected("|||NE|AL"), 1);
        assert_eq!(expected("|||AL|AL"), 2);
        assert_eq!(expected("|||NE|NE"), 0);
        assert_eq!(expectation(b"MSH|^~\\&|A|B|||1||ORU^R01|X7|P|2.6\r").1, b"X7");
    }

    #[test]
    fn an_answer_is_read() {
        assert_eq!(acknowledgement(b"MSH|^~\\&|\rMSA|AA|X7\r"), (&b"AA"[..], &b"X7"[..]));
        assert_eq!(acknowledgement(b"MSH#@~\\&#\rMSA#AE#1"), (&b"AE"[..], &b"1"[..]));
        assert_eq!(acknowledgement(b"nothing"), (&b""[..], &b""[..]));
    }

    #[test]
    fn an_address_must_be_one() {
        for wrong in ["http://a:1", "mllp://a", "a:1"] {
            assert!(Sender::new(wrong).is_err(), "{wrong}");
        }
    }
}
