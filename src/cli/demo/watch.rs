//! The demo's station: a plain MQTT client on the broker's port, which sees what every station sees.

use anyhow::Context as _;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Alerts on their way to the terminal at most.
const QUEUE: usize = 256;

/// What of an alert event is told.
#[derive(Debug, Clone)]
pub struct Caught {
    /// Id of the alert.
    pub id: String,
    pub bed: String,
    pub condition: String,
    /// Ids of the condition and of everything in evidence.
    pub checks: Vec<String>,
    pub priority: String,
    pub text: String,
    /// Raised, or risen to this priority.
    pub raises: bool,
    /// High, medium or low; an advisory that is low is the engineers' matter.
    pub for_nurses: bool,
}

impl Caught {
    pub(super) fn read(payload: &[u8]) -> Option<Caught> {
        let document: serde_json::Value = serde_json::from_slice(payload).ok()?;
        let alert = document.get("alert")?;
        let text = |value: &serde_json::Value, key: &str| value.get(key).and_then(|v| v.as_str()).map(str::to_owned);
        let condition = text(alert, "condition")?;
        let priority = text(alert, "priority")?;
        let mut checks = vec![condition.split(' ').next().unwrap_or_default().to_owned()];
        let evidence = alert.get("evidence").and_then(|v| v.as_array());
        checks.extend(evidence.into_iter().flatten().filter_map(|row| text(row, "check")));
        Some(Caught {
            id: text(alert, "id")?,
            bed: text(alert, "bed")?,
            checks,
            text: alert.get("text").and_then(|t| text(t, "en")).unwrap_or_default(),
            raises: matches!(text(&document, "event")?.as_str(), "raised" | "escalated"),
            for_nurses: match priority.as_str() {
                "high" | "medium" => true,
                "low" => alert.get("assessment").and_then(|v| v.as_str()) != Some("advisory"),
                _ => false,
            },
            condition,
            priority,
        })
    }
}

/// The running client.
pub struct Watch {
    client: AsyncClient,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    /// Connects and subscribes; returns when the subscription stands.
    pub async fn start(broker: SocketAddr, root: &str) -> anyhow::Result<(Watch, mpsc::Receiver<Caught>)> {
        let mut options =
            MqttOptions::new(format!("vitalguard-demo-{}", std::process::id()), broker.ip().to_string(), broker.port());
        options.set_keep_alive(Duration::from_secs(10));
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut events) = AsyncClient::new(options, 16);
        client.subscribe(format!("{root}/v1/demo/ward/+/bed/+/event/#"), QoS::AtLeastOnce).await.context("subscribing")?;
        let (alerts, caught) = mpsc::channel(QUEUE);
        let (stands, standing) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut stands = Some(stands);
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        if let Some(stands) = stands.take() {
                            // The one who waited may have given up.
                            let _ = stands.send(());
                        }
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        if let Some(alert) = Caught::read(&publish.payload)
                            && alerts.send(alert).await.is_err()
                        {
                            return;
                        }
                    }
                    Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return,
                    Ok(_) => {}
                    // Lost: the next poll connects again.
                    Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                }
            }
        });
        tokio::time::timeout(Duration::from_secs(10), standing)
            .await
            .context("the broker did not take the subscription in 10 s")?
            .context("the MQTT client stopped")?;
        Ok((Watch { client, task }, caught))
    }

    pub async fn stop(&mut self) {
        // A broker that has gone needs no farewell.
        let _ = self.client.disconnect().await;
        if tokio::time::timeout(Duration::from_secs(2), &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_with_the_checks_that_agree() {
        let event = br#"{"schema":"alert-event/1","event":"raised","alert":{"id":"A-1","bed":"B07","condition":"P02 second_sender","priority":"high",
            "text":{"en":"Two senders","it":"Due"},"evidence":[{"check":"P07"}]}}"#;
        let caught = Caught::read(event).unwrap();
        assert_eq!(
            (caught.checks.as_slice(), caught.raises, caught.for_nurses),
            (&["P02".to_owned(), "P07".to_owned()][..], true, true)
        );
        assert!(Caught::read(b"{").is_none());
    }

    #[test]
    fn a_low_alert_is_for_nurses_unless_it_is_an_advisory() {
        let of = |priority: &str, assessment: &str| {
            let event = format!(
                r#"{{"event":"raised","alert":{{"id":"A-1","bed":"B07","condition":"x","assessment":"{assessment}","priority":"{priority}"}}}}"#
            );
            Caught::read(event.as_bytes()).unwrap().for_nurses
        };
        assert!(of("low", "artefact") && of("medium", "advisory"));
        assert!(!of("low", "advisory") && !of("info", "artefact"));
    }
}
