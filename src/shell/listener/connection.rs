//! One connection: bytes in, records to the journal, answers out, in order.

use super::super::journal::{Evidence, JournalHandle, Record};
use super::super::tls::Identity;
use super::stats::WireFault;
use super::step::{Batch, Class, Step, batch, class, fragment, trimmed};
use super::{FeedStats, Shared};
use crate::hl7::ack::{Outcome, answer};
use crate::mllp::{Decoder, Event, FrameFaults, encode};
use crate::observation::Source;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// A frame whose FS is not followed by CR is complete when nothing comes for so long, milliseconds.
pub const GRACE_MS: u64 = 200;
/// A peer that does not take its answers is given up after, seconds.
pub const WRITE_TIMEOUT_S: u64 = 30;
/// At a stop, connections finish what they have begun within, seconds.
pub const DRAIN_S: u64 = 5;
/// A TLS handshake takes at most, seconds.
const HANDSHAKE_S: u64 = 10;
/// Bytes of one read: at first, and at most.
const FIRST_READ_BYTES: usize = 8 << 10;
const READ_BYTES: usize = 64 << 10;
/// Pieces of junk of one connection that go to the journal; further ones are only counted.
const JUNK_PIECES_MAX: u32 = 100;

/// Makes our own MSH-10 unique, also over restarts: milliseconds of the first use, then counted.
static ANSWERS: AtomicU64 = AtomicU64::new(0);

fn unique() -> u64 {
    let n = ANSWERS.fetch_add(1, Ordering::Relaxed);
    if n != 0 {
        return n + 1;
    }
    let ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_millis() as u64);
    // Answers leave slower than this counts on: a thousand a millisecond.
    ANSWERS.fetch_add(ms.saturating_mul(1000), Ordering::Relaxed) + 1
}

/// The batch that a frame holds, which is taken message by message.
fn batch_of(event: &Event) -> Option<(Batch<'_>, FrameFaults)> {
    match event {
        Event::Frame { payload, faults } => batch(payload).map(|batch| (batch, *faults)),
        _ => None,
    }
}

/// Why a connection ends.
enum End {
    /// The peer has closed, or we stop.
    Closed,
    /// Closed by us, counted.
    Fault(WireFault),
}

pub(super) struct Connection {
    shared: Shared,
    journal: JournalHandle,
    stop: CancellationToken,
    peer: SocketAddr,
    source: Source,
    evidence: Evidence,
    /// The journal knows of it (from its first record on: probes of load balancers leave no trace there).
    opened: bool,
    junk_pieces: u32,
    unfinished: u64,
    answers: Vec<u8>,
}

impl Connection {
    pub fn new(shared: Shared, journal: JournalHandle, stop: CancellationToken, number: u64, peer: SocketAddr) -> Connection {
        let source = Source {
            feed: shared.config.feed.clone(),
            peer: peer.ip().to_canonical().to_string(),
            connection: number,
            ward: shared.config.ward.clone(),
            dialect: shared.config.dialect.clone(),
            zone: shared.config.zone.clone(),
            ..Source::default()
        };
        let evidence = Evidence { port: peer.port(), tls: None };
        Connection {
            shared,
            journal,
            stop,
            peer,
            source,
            evidence,
            opened: false,
            junk_pieces: 0,
            unfinished: 0,
            answers: Vec::new(),
        }
    }

    fn stats(&self) -> &Arc<FeedStats> {
        &self.shared.stats
    }

    pub async fn run(mut self, stream: TcpStream, acceptor: Option<tokio_rustls::TlsAcceptor>) {
        let end = match acceptor {
            None => self.converse(stream).await,
            Some(acceptor) => self.converse_tls(stream, acceptor).await,
        };
        match end {
            End::Closed => tracing::debug!(feed = self.source.feed, peer = %self.peer, "connection closed"),
            End::Fault(fault) => {
                let (feed, fault) = (&self.source.feed, fault.name());
                tracing::debug!(feed, peer = %self.peer, fault, "connection closed by us or broken");
            }
        }
        if self.opened {
            let _ = self.journal.submit(Record::Close { connection: self.source.connection }).await;
        }
    }

    /// Counts why we close.
    fn fault(&self, fault: WireFault) -> End {
        self.stats().count(fault);
        End::Fault(fault)
    }

    async fn converse_tls(&mut self, stream: TcpStream, acceptor: tokio_rustls::TlsAcceptor) -> End {
        let mut first = [0; 1];
        let within = Duration::from_secs(HANDSHAKE_S);
        match timeout(within, stream.peek(&mut first)).await {
            Ok(Ok(0)) => return self.fault(WireFault::ConnectAndClose),
            Ok(Ok(_)) if first[0] == 0x16 => {}
            // Plain text on this port: an answer would be in the wrong language whatever it said.
            Ok(Ok(_)) => {
                self.fragment_only(WireFault::PlaintextOnTls).await;
                return self.fault(WireFault::PlaintextOnTls);
            }
            Ok(Err(_)) => return self.fault(WireFault::Reset),
            Err(_) => return self.fault(WireFault::TlsHandshake),
        }
        match timeout(within, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                self.evidence.tls = certificate.map(|c| Identity::of(c).to_string());
                self.source.encrypted = true;
                self.source.certificate.clone_from(&self.evidence.tls);
                self.converse(stream).await
            }
            Ok(Err(error)) => {
                tracing::info!(feed = self.source.feed, %error, "TLS handshake failed");
                self.fault(WireFault::TlsHandshake)
            }
            Err(_) => self.fault(WireFault::TlsHandshake),
        }
    }

    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(&mut self, mut stream: S) -> End {
        let mut decoder = Decoder::new(self.shared.config.frame_bytes_max);
        let end = self.exchange(&mut stream, &mut decoder).await;
        drop(decoder);
        self.within_budget(0);
        if let End::Fault(fault) = &end {
            self.stats().count(*fault);
        }
        if !matches!(end, End::Fault(WireFault::Reset | WireFault::WriteTimeout)) {
            // FIN, and a moment for the peer to take the last answers: a socket closed with bytes unread would be reset.
            let _ = timeout(Duration::from_secs(1), stream.shutdown()).await;
            if self.opened {
                let mut rest = [0; 4096];
                let linger = async { while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {} };
                let _ = timeout(Duration::from_millis(GRACE_MS), linger).await;
            }
        }
        end
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: &mut S, decoder: &mut Decoder) -> End {
        let config = self.shared.config.clone();
        let message_timeout = Duration::try_from_secs_f64(config.message_timeout_s).unwrap_or(Duration::MAX);
        let idle_timeout = Duration::try_from_secs_f64(config.idle_timeout_s).ok().filter(|after| !after.is_zero());
        let stop = self.stop.clone();
        let mut stopping = std::pin::pin!(stop.cancelled());
        let mut buffer = vec![0; FIRST_READ_BYTES];
        let mut last_byte = Instant::now();
        // When the unfinished frame began, whether the decoder was told of the silence since, how long we still listen at a stop.
        let (mut begun, mut told, mut drain_until): (Option<Instant>, bool, Option<Instant>) = (None, true, None);
        let mut heard = false;
        loop {
            let pending = decoder.pending();
            let wake = [
                begun.and_then(|at| at.checked_add(message_timeout)),
                (pending > 0 && !told).then(|| last_byte + Duration::from_millis(GRACE_MS)),
                idle_timeout.filter(|_| pending == 0).and_then(|after| last_byte.checked_add(after)),
                drain_until,
            ];
            let read = tokio::select! {
                biased;
                read = read_until(stream, &mut buffer, wake.into_iter().flatten().min()) => read,
                () = stopping.as_mut(), if drain_until.is_none() => {
                    drain_until = Some(drain_end(pending));
                    continue;
                }
            };
            let now = Instant::now();
            let size = match read {
                Some(Ok(0)) if !heard => return End::Fault(WireFault::ConnectAndClose),
                Some(Ok(0)) => return self.finish(stream, decoder, true).await,
                Some(Ok(size)) => size,
                Some(Err(_)) => {
                    self.finish(stream, decoder, false).await;
                    return End::Fault(WireFault::Reset);
                }
                None if begun.is_some_and(|at| now.duration_since(at) >= message_timeout) => {
                    self.finish(stream, decoder, false).await;
                    return End::Fault(WireFault::MessageTimeout);
                }
                None if drain_until.is_some_and(|until| now >= until) => {
                    self.finish(stream, decoder, false).await;
                    return End::Closed;
                }
                None if pending == 0 => return End::Fault(WireFault::IdleTimeout),
                None => {
                    told = true;
                    let event = decoder.idle();
                    if let Err(end) = self.take(stream, decoder, event).await {
                        return end;
                    }
                    begun = begun.filter(|_| decoder.pending() > 0);
                    continue;
                }
            };
            heard = true;
            told = false;
            last_byte = now;
            self.stats().bytes_in.fetch_add(size as u64, Ordering::Relaxed);
            self.stats().meters.bytes_in.increment(size as u64);
            decoder.push(&buffer[..size]);
            if size == buffer.len() && size < READ_BYTES {
                buffer.resize(size * 2, 0);
            }
            let finished = match self.take(stream, decoder, None).await {
                Ok(finished) => finished,
                Err(end) => return end,
            };
            let pending = decoder.pending();
            begun = match begun {
                _ if pending == 0 => None,
                Some(at) if !finished => Some(at),
                _ => Some(now),
            };
            if !self.within_budget(pending) {
                self.finish(stream, decoder, false).await;
                return End::Fault(WireFault::UnfinishedBudget);
            }
            if drain_until.is_some() {
                drain_until = drain_until.map(|until| until.min(drain_end(pending)));
            }
        }
    }

    /// Books the bytes of this connection's unfinished frame; `false`: they are too many.
    fn within_budget(&mut self, pending: usize) -> bool {
        let before = std::mem::replace(&mut self.unfinished, pending as u64);
        let peer = self.peer.ip().to_canonical();
        self.shared.budget.book(peer, before, self.unfinished, &self.shared.stats.unfinished_bytes)
    }

    /// Takes what the decoder has, stores and answers it. Whether a frame or a fault was among it.
    async fn take<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        decoder: &mut Decoder,
        first: Option<Event>,
    ) -> Result<bool, End> {
        let begun = Instant::now();
        let mut step = Step::default();
        let mut next = first;
        let mut any = false;
        while let Some(event) = next.take().or_else(|| decoder.poll()) {
            any = true;
            if let Some((batch, faults)) = batch_of(&event) {
                self.batch(stream, batch, faults, &mut step, begun).await?;
                continue;
            }
            let foreign = self.event(event, &mut step);
            if step.is_full() || foreign.is_some() {
                self.store_and_answer(stream, std::mem::take(&mut step), begun).await?;
            }
            if let Some(fault) = foreign {
                return Err(End::Fault(fault));
            }
        }
        self.store_and_answer(stream, step, begun).await?;
        Ok(any)
    }

    /// The end of the stream. What is unfinished goes to the journal; a last message is judged and answered only if the peer ended
    /// it by closing (`answered`).
    async fn finish<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, decoder: &mut Decoder, answered: bool) -> End {
        let begun = Instant::now();
        let mut step = Step::default();
        // A decoder has at most a handful of things to say at its end; the bound is for a faulty one.
        for _ in 0..64 {
            let Some(event) = decoder.finish().or_else(|| decoder.poll()) else { break };
            let event = match event {
                Event::Frame { payload, .. } if !answered => Event::Truncated { payload },
                other => other,
            };
            let Some((batch, faults)) = batch_of(&event) else {
                self.event(event, &mut step);
                continue;
            };
            if let Err(end) = self.batch(stream, batch, faults, &mut step, begun).await {
                return end;
            }
        }
        match self.store_and_answer(stream, step, begun).await {
            Ok(()) => End::Closed,
            Err(end) => end,
        }
    }

    /// Turns what the decoder found into records and answers; a fault that ends the connection.
    fn event(&mut self, event: Event, step: &mut Step) -> Option<WireFault> {
        let fault = match event {
            Event::Frame { payload, faults } => {
                self.stats().count_frame(faults);
                self.message(payload, step);
                return None;
            }
            Event::Empty => WireFault::Empty,
            Event::Commit(_) => WireFault::Commit,
            Event::Junk { head, .. } => {
                // Line ends and NULs between frames are a habit of many senders, not evidence.
                let habit = head.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0));
                if !habit && self.junk_pieces < JUNK_PIECES_MAX {
                    self.junk_pieces += 1;
                    step.fragment(&self.source, WireFault::Junk, head);
                }
                WireFault::Junk
            }
            Event::Truncated { payload } => {
                step.fragment(&self.source, WireFault::Truncated, payload);
                WireFault::Truncated
            }
            Event::TooLarge { head } => {
                let reply = (trimmed(&head).starts_with(b"MSH")).then_some(Outcome::TooLarge);
                self.received();
                step.push(fragment(&self.source, WireFault::TooLarge, head), reply);
                WireFault::TooLarge
            }
            Event::Foreign(foreign) => {
                let fault = WireFault::from(foreign);
                step.fragment(&self.source, fault, Vec::new());
                // Counted when the connection ends.
                return Some(fault);
            }
        };
        self.stats().count(fault);
        None
    }

    /// A batch is stored and answered in steps like messages of their own: a frame of the smallest messages would otherwise be
    /// held thirty times over, as records and as answers.
    async fn batch<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        batch: Batch<'_>,
        faults: FrameFaults,
        step: &mut Step,
        begun: Instant,
    ) -> Result<(), End> {
        self.stats().count_frame(faults);
        if batch.faulty {
            self.stats().count(WireFault::BatchFault);
        }
        if batch.messages.is_empty() {
            self.message(batch.envelope, step);
            return Ok(());
        }
        let (source, what) = (self.source.clone(), "batch".into());
        step.push(Record::Fragment { source, what, payload: batch.envelope }, None);
        for message in batch.messages {
            self.message(message.to_vec(), step);
            if step.is_full() {
                self.store_and_answer(stream, std::mem::take(step), begun).await?;
            }
        }
        Ok(())
    }

    fn received(&self) {
        self.stats().received.fetch_add(1, Ordering::Relaxed);
        self.stats().meters.received.increment(1);
    }

    fn message(&self, payload: Vec<u8>, step: &mut Step) {
        self.received();
        let (fault, reply) = match class(&payload) {
            Class::Message => {
                let record = Record::Frame { source: self.source.clone(), payload };
                return step.push(record, Some(Outcome::Stored));
            }
            Class::Query => (WireFault::Query, Some(Outcome::Unsupported)),
            Class::Ack => (WireFault::AckReceived, None),
            Class::Unreadable => (WireFault::NotHl7, Some(Outcome::Unreadable)),
        };
        self.stats().count(fault);
        if reply.is_none() {
            self.stats().count_answer("");
        }
        step.push(fragment(&self.source, fault, payload), reply);
    }

    /// Stores a step, then answers it in one write.
    async fn store_and_answer<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, step: Step, begun: Instant) -> Result<(), End> {
        let Step { mut records, mut replies, heads, .. } = step;
        if records.is_empty() {
            return Ok(());
        }
        if !self.opened {
            records.insert(0, Record::Open { source: self.source.clone(), evidence: self.evidence.clone() });
            replies.insert(0, None);
        }
        let stored = self.journal.submit_stamped(records).await;
        let at = match stored {
            Ok((_, at)) => {
                self.opened = true;
                at
            }
            Err(_) => self.journal.stats().at,
        };
        self.stats().last_message_ms.store(at.ms(), Ordering::Relaxed);
        self.stats().set_last_peer(&self.source.peer);
        self.answers.clear();
        let mut answered = 0;
        for reply in replies.iter().flatten() {
            let outcome = match reply.outcome {
                Outcome::Stored if stored.is_err() => Outcome::NotStored,
                other => other,
            };
            let answer = answer(&heads[reply.head.clone()], outcome, self.shared.config.ack, unique(), at);
            self.stats().count_answer(answer.code);
            for message in &answer.messages {
                encode(message, &mut self.answers);
            }
            answered += 1;
        }
        if self.answers.is_empty() {
            return Ok(());
        }
        let write = async {
            stream.write_all(&self.answers).await?;
            stream.flush().await
        };
        match timeout(Duration::from_secs(WRITE_TIMEOUT_S), write).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(End::Fault(WireFault::Reset)),
            Err(_) => return Err(End::Fault(WireFault::WriteTimeout)),
        }
        self.stats().bytes_out.fetch_add(self.answers.len() as u64, Ordering::Relaxed);
        let took = begun.elapsed();
        for _ in 0..answered {
            self.stats().ack_latency.record(took.as_micros() as u64);
            self.stats().meters.ack_s.record(took.as_secs_f64());
        }
        if self.answers.capacity() > READ_BYTES {
            self.answers = Vec::new();
        }
        Ok(())
    }

    /// Evidence of a connection that is closed without having spoken our language.
    async fn fragment_only(&mut self, fault: WireFault) {
        let open = Record::Open { source: self.source.clone(), evidence: self.evidence.clone() };
        let stored = self.journal.submit_many(vec![open, fragment(&self.source, fault, Vec::new())]).await;
        self.opened = stored.is_ok();
    }
}

/// How long a stopping connection still listens: for the rest of a frame, or for what is already in the socket.
fn drain_end(pending: usize) -> Instant {
    Instant::now() + if pending > 0 { Duration::from_secs(DRAIN_S) } else { Duration::from_millis(50) }
}

/// Also where its task fails.
impl Drop for Connection {
    fn drop(&mut self) {
        self.within_budget(0);
    }
}

/// Reads, or `None` when it is `wake`.
async fn read_until<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut [u8],
    wake: Option<Instant>,
) -> Option<std::io::Result<usize>> {
    match wake {
        None => Some(stream.read(buffer).await),
        Some(wake) => tokio::time::timeout_at(wake, stream.read(buffer)).await.ok(),
    }
}
