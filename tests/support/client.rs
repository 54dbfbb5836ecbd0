//! A client for the tests: remembers what it hears.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vitalguard::shell::mqtt::{self, Ack, Endpoint, Incoming, Message, Sender, Signal};

#[derive(Default)]
pub struct Heard {
    pub connected: bool,
    pub subscribed: Option<bool>,
    pub messages: Vec<Incoming>,
    pub acks: Vec<Ack>,
    pub error: Option<String>,
}

pub struct Client {
    pub heard: Arc<Mutex<Heard>>,
    pub sender: Sender,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

pub fn endpoint(address: SocketAddr, client_id: &str, user: Option<(&str, &str)>) -> Endpoint {
    Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
        tls: None,
        credentials: user.map(|(name, password)| (name.to_owned(), password.to_owned())),
        client_id: client_id.into(),
        will: None,
    }
}

impl Client {
    pub fn start(endpoint: Endpoint, v5: bool, filters: &[&str], at_least_once: bool) -> Client {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let filters: Vec<(String, bool)> = filters.iter().map(|f| ((*f).to_owned(), at_least_once)).collect();
        let (hand_over, taken) = std::sync::mpsc::channel();
        let (inner, ended) = (Arc::clone(&heard), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let (sender, mut wire) = mqtt::connect(&endpoint, v5);
                hand_over.send(sender.clone()).expect("the test waits");
                loop {
                    let signal = {
                        let poll = wire.poll();
                        tokio::pin!(poll);
                        loop {
                            tokio::select! {
                                signal = &mut poll => break signal,
                                () = tokio::time::sleep(Duration::from_millis(100)) => {}
                            }
                            if ended.load(Ordering::SeqCst) {
                                return;
                            }
                        }
                    };
                    let mut heard = inner.lock().expect("no panic");
                    match signal {
                        Ok(Signal::Connected { .. }) => {
                            heard.connected = true;
                            if !filters.is_empty() {
                                sender.subscribe(&filters);
                            }
                        }
                        Ok(Signal::Subscribed { refused }) => heard.subscribed = Some(!refused),
                        Ok(Signal::Message(message)) => heard.messages.push(message),
                        Ok(Signal::Acked(_, ack)) => heard.acks.push(ack),
                        Ok(_) => {}
                        Err(error) => {
                            heard.error = Some(error.reason);
                            break;
                        }
                    }
                }
            });
        });
        let sender = taken.recv().expect("the client starts");
        Client { heard, sender, stop, thread: Some(thread) }
    }
    pub fn with<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.lock().expect("no panic"))
    }
    pub fn say(&self, topic: &str, payload: &str, retain: bool) {
        let message = Message {
            topic: topic.into(),
            payload: bytes::Bytes::from(payload.to_owned()),
            at_least_once: true,
            retain,
            ..Message::default()
        };
        assert!(self.sender.publish(&message));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
