//! `vitalguard demo`: the whole service on a temporary folder, twelve invented beds over real sockets, three attacks, a monitor
//! that declares the name of a product of an advisory, and a real MQTT client that watches what is caught.
//!
//! Nothing in the service knows that it is a demo: the beds send HL7 over MLLP as a gateway would, and what the terminal shows
//! as caught is what any station would have received.

mod beds;
mod watch;

use super::{Global, start_logging, stop_signal};
use crate::config::{Config, LogFormat};
use crate::eval::synth::Kind;
use crate::shell::{Broker, ServeOptions};
use anyhow::Context as _;
use std::io::{IsTerminal as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use watch::{Caught, Watch};

/// An alert stands on MQTT within this time of its attack, seconds; that of a replay after its window and width.
const CAUGHT_WITHIN_S: f64 = 30.0;
const REPLAY_WITHIN_S: f64 = 120.0;
const SCENARIO: &str = include_str!("../../data/scenarios/demo.toml");

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seed of the invented patients.
    #[arg(long)]
    seed: Option<u64>,
    /// End after so many seconds; exit code 0 if all attacks were caught, the advisory was told, and nothing else was raised for
    /// nurses.
    #[arg(long = "for", value_name = "SECONDS")]
    for_s: Option<u64>,
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
    mqtt_listen: SocketAddr,
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2575")]
    mllp: SocketAddr,
}

/// `data/scenarios/demo.toml`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    seed: u64,
    artefacts: f64,
    second_sender: SecondSender,
    resend: Resend,
    replay: Replay,
    advised: Advised,
    bed: Vec<Bed>,
}

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Bed {
    bed: String,
    kind: Kind,
}

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SecondSender {
    bed: String,
    at_s: u64,
    for_s: u64,
    application: String,
    eui64: String,
    heart_rate_offset: f64,
}

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Resend {
    bed: String,
    at_s: u64,
    from_s: u64,
    to_s: u64,
}

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    bed: String,
    at_s: u64,
    from_s: u64,
    for_s: u64,
}

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Advised {
    bed: String,
    kind: Kind,
    application: String,
    eui64: String,
    advisory: String,
}

/// What the beds have sent and heard.
#[derive(Debug, Default)]
struct Traffic {
    sent: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
}

pub fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let scenario: Scenario = toml::from_str(SCENARIO).context("the demo's scenario")?;
    let quiet = crate::config::Log { format: LogFormat::Text, filter: "warn".into() };
    start_logging(global, &quiet);
    let folder = tempfile::Builder::new().prefix("vitalguard-demo-").tempdir().context("making a temporary folder")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(play(args, scenario, folder.path().to_owned()))
}

/// The address, or a free port beside it when it is taken.
fn free(wanted: SocketAddr, what: &str) -> SocketAddr {
    if wanted.port() == 0 || TcpListener::bind(wanted).is_ok() {
        return wanted;
    }
    eprintln!("{what}: {wanted} is taken, a free port is used instead");
    SocketAddr::new(wanted.ip(), 0)
}

async fn play(args: Args, scenario: Scenario, data: std::path::PathBuf) -> anyhow::Result<ExitCode> {
    let mut config = Config { site: "demo".into(), data, ..Config::default() };
    config.mllp[0].feed = "demo".into();
    config.mllp[0].listen = free(args.mllp, "mllp");
    config.mqtt.listen = free(args.mqtt_listen, "mqtt");
    config.http.listen = free(args.http, "http");
    let problems = config.problems();
    if !problems.is_empty() {
        return Err(super::Usage(problems.into_iter().map(|p| format!("{}: {}", p.key, p.message)).collect()).into());
    }
    let root = config.mqtt.root.clone();
    let running = crate::shell::serve(config, ServeOptions::default()).await.context("starting the service")?;
    let mllp = running.mllp.first().map(|(_, address)| *address).context("the service listens nowhere")?;
    let Broker::Embedded(mqtt) = running.mqtt.clone() else { anyhow::bail!("the demo needs the embedded broker") };
    let screen = Screen::new();
    screen.line(&format!("watch     http://{}/", running.http));
    screen.line(&format!(
        "subscribe mosquitto_sub -h {} -p {} -q 1 -t '{root}/v1/demo/ward/+/bed/+/event/#'",
        mqtt.ip(),
        mqtt.port()
    ));
    screen.line(&format!(
        "devices   vitalguard devices --http {}  (bed {}: an invented monitor that declares {})",
        running.http, scenario.advised.bed, scenario.advised.application
    ));
    screen.line(&format!("send      {} beds to mllp://{mllp}, one message a second each", scenario.bed.len() + 1));

    let (mut watch, mut caught) = Watch::start(mqtt, &root).await?;
    let began = Instant::now();
    let traffic = Arc::new(Traffic::default());
    let mut beds = beds::start(&scenario, args.seed.unwrap_or(scenario.seed), mllp, began, traffic.clone(), screen.clone());
    let end = async {
        match args.for_s {
            Some(seconds) => tokio::time::sleep_until((began + Duration::from_secs(seconds)).into()).await,
            None => std::future::pending().await,
        }
    };
    let mut ledger = Ledger::new(&scenario);
    ledger.http = Some(running.http);
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    let mut failure = None;
    tokio::pin!(end);
    let stop = stop_signal();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut end => break,
            () = &mut stop => break,
            Some(alert) = caught.recv() => ledger.take(alert, began.elapsed().as_secs_f64(), &screen),
            Some(ended) = beds.join_next() => {
                if let Ok(Err(error)) = ended {
                    failure = Some(error);
                    break;
                }
            }
            _ = tick.tick() => screen.status(&format!(
                "{:.0} s, {} sent, {} accepted, {} refused",
                began.elapsed().as_secs_f64(),
                traffic.sent.load(Ordering::Relaxed),
                traffic.accepted.load(Ordering::Relaxed),
                traffic.refused.load(Ordering::Relaxed)
            )),
        }
    }
    let elapsed_s = began.elapsed().as_secs_f64();
    beds.shutdown().await;
    watch.stop().await;
    let stop = running.stop_handle();
    stop.stop();
    running.wait().await.context("stopping the service")?;
    screen.finish();
    if let Some(error) = failure {
        return Err(error.context("a bed could not send"));
    }
    let complaints = ledger.complaints(elapsed_s);
    screen.line(&format!(
        "{} messages sent, {} accepted, {} refused",
        traffic.sent.load(Ordering::Relaxed),
        traffic.accepted.load(Ordering::Relaxed),
        traffic.refused.load(Ordering::Relaxed)
    ));
    for complaint in &complaints {
        screen.line(complaint);
    }
    // Without --for a person has ended it and has seen what there was.
    let failed = args.for_s.is_some() && (!complaints.is_empty() || traffic.refused.load(Ordering::Relaxed) > 0);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// An attack and what became of it.
struct Attack {
    name: &'static str,
    bed: String,
    check: &'static str,
    at_s: f64,
    within_s: f64,
    caught_s: Option<f64>,
}

/// Attacks against alerts.
struct Ledger {
    attacks: Vec<Attack>,
    /// Bed and advisory of the monitor that declares its name, and when that was told.
    advised: (String, String, Option<f64>),
    others: Vec<String>,
    /// Where the running service is asked; what may be tried is told once, at the first attack that was caught.
    http: Option<SocketAddr>,
}

impl Ledger {
    fn new(scenario: &Scenario) -> Ledger {
        let (second, resend, replay) = (&scenario.second_sender, &scenario.resend, &scenario.replay);
        let attack = |name, bed: &str, check, at_s: u64, within_s| Attack {
            name,
            bed: bed.to_owned(),
            check,
            at_s: at_s as f64,
            within_s,
            caught_s: None,
        };
        Ledger {
            attacks: vec![
                attack("second sender", &second.bed, "P02", second.at_s, CAUGHT_WITHIN_S),
                attack("resent stretch", &resend.bed, "P01", resend.at_s, CAUGHT_WITHIN_S),
                attack("replay", &replay.bed, "T07", replay.at_s, REPLAY_WITHIN_S),
            ],
            advised: (scenario.advised.bed.clone(), scenario.advised.advisory.clone(), None),
            others: Vec::new(),
            http: None,
        }
    }

    fn take(&mut self, alert: Caught, now_s: f64, screen: &Screen) {
        if !alert.raises {
            return;
        }
        let priority = alert.priority.to_uppercase();
        let (bed, advisory, told) = &mut self.advised;
        if alert.bed == *bed && alert.checks.iter().any(|check| check == "N01") && !alert.for_nurses {
            if alert.text.contains(advisory.as_str()) {
                told.get_or_insert(now_s);
            }
            screen.line(&format!("{now_s:>6.1} s  ADVISORY  {priority:<6} bed {bed}: {} [{}]", alert.text, alert.condition));
            return;
        }
        let attack = self.attacks.iter_mut().find(|attack| attack.bed == alert.bed && now_s >= attack.at_s);
        match attack {
            Some(attack) => {
                let delay_s = now_s - attack.at_s;
                let names_it = alert.checks.iter().any(|check| check == attack.check);
                if names_it && alert.for_nurses && attack.caught_s.is_none() {
                    attack.caught_s = Some(delay_s);
                }
                screen.line(&format!(
                    "{now_s:>6.1} s  CAUGHT    {priority:<6} bed {}: {} [{}] {delay_s:.1} s after the attack",
                    alert.bed, alert.text, alert.condition
                ));
                if alert.for_nurses
                    && let Some(http) = self.http.take()
                {
                    try_out(http, &alert.id, screen);
                }
            }
            None => {
                screen.line(&format!(
                    "{now_s:>6.1} s  alert     {priority:<6} bed {}: {} [{}]",
                    alert.bed, alert.text, alert.condition
                ));
                if alert.for_nurses {
                    self.others
                        .push(format!("not caused by an attack: {} on bed {} at {now_s:.1} s", alert.condition, alert.bed));
                }
            }
        }
    }

    /// What is wrong with the result; attacks that had no time to be caught are complaints as well.
    fn complaints(&self, elapsed_s: f64) -> Vec<String> {
        let mut list = self.others.clone();
        if self.advised.2.is_none() {
            list.push(format!("not told: {} on bed {} (N01)", self.advised.1, self.advised.0));
        }
        for attack in &self.attacks {
            match attack.caught_s {
                Some(delay_s) if delay_s <= attack.within_s => {}
                Some(delay_s) => {
                    list.push(format!("late: {} on bed {} was caught after {delay_s:.1} s", attack.name, attack.bed))
                }
                None if elapsed_s < attack.at_s => list.push(format!("{} on bed {} was not reached", attack.name, attack.bed)),
                None => list.push(format!("not caught: {} on bed {} ({})", attack.name, attack.bed, attack.check)),
            }
        }
        list
    }
}

/// The commands that make a case of an alert, from another shell while the demo runs.
fn try_out(http: SocketAddr, alert: &str, screen: &Screen) {
    for line in [
        "          a case of it, from another shell while this runs (C-… is what `open` prints):".to_owned(),
        format!("            vitalguard incident open {alert} --http {http}"),
        format!("            vitalguard incident export C-… --http {http} -o case.zip"),
        "            vitalguard verify case.zip; unzip -p case.zip verify.py > verify.py; python3 verify.py case.zip".to_owned(),
    ] {
        screen.line(&line);
    }
}

/// The terminal: lines, and on a real one a status below them.
#[derive(Clone)]
struct Screen(Option<indicatif::ProgressBar>);

impl Screen {
    fn new() -> Screen {
        if !std::io::stdout().is_terminal() || !std::io::stderr().is_terminal() {
            return Screen(None);
        }
        let bar = indicatif::ProgressBar::new_spinner();
        if let Ok(style) = indicatif::ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Screen(Some(bar))
    }
    fn line(&self, text: &str) {
        match &self.0 {
            Some(bar) if !bar.is_finished() => bar.suspend(|| println!("{text}")),
            _ => {
                // A closed reader is no reason to stop a demo that a test is timing.
                let mut out = std::io::stdout().lock();
                let _ = writeln!(out, "{text}").and_then(|()| out.flush());
            }
        }
    }
    fn status(&self, text: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(text.to_owned());
            bar.tick();
        }
    }
    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(bed: &str, condition: &str, priority: &str) -> Caught {
        Caught {
            id: "A-53ee76904a86-20261122T182326412Z".into(),
            bed: bed.into(),
            condition: condition.into(),
            checks: vec![condition[..3].into()],
            priority: priority.into(),
            text: "x".into(),
            raises: true,
            for_nurses: matches!(priority, "high" | "medium"),
        }
    }

    /// The scenario without sockets: the same messages into a monitor, on a clock of our own. Gives the ledger's complaints.
    fn played(seed: u64, seconds: u64) -> Vec<String> {
        use crate::alert::Envelope;
        use crate::eval::synth::Patient;
        use crate::monitor::{FIXED_KEY, Monitor, Output, Settings};
        use crate::observation::Source;
        use crate::time::Timestamp;
        let scenario: Scenario = toml::from_str(SCENARIO).unwrap();
        let start = Timestamp::from_ms(1_767_323_040_000);
        let config = Config { site: "demo".into(), ..Config::default() };
        let mut monitor = Monitor::new(Settings::new(&config, FIXED_KEY));
        let mut patients: Vec<_> = scenario
            .bed
            .iter()
            .enumerate()
            .map(|(at, bed)| {
                (beds::monitor(at, &bed.bed), Patient::new(bed.kind, seed.wrapping_add(at as u64), start, scenario.artefacts))
            })
            .collect();
        let advised = Patient::new(scenario.advised.kind, seed ^ 0xAD51, start, scenario.artefacts);
        patients.push((beds::advised(&scenario), advised));
        let (second_sender, resend) = (&scenario.second_sender, &scenario.resend);
        let intruder = beds::intruder(&scenario.bed, second_sender);
        let attack_start = start.plus_ms(second_sender.at_s as i64 * 1000 + 500);
        let mut intruder_patient = Patient::new(Kind::Healthy, seed ^ 0x5EED, attack_start, 0.0);
        let mut tape: Vec<Vec<u8>> = Vec::new();
        let mut past = Vec::new();
        let mut sent: Vec<(Timestamp, u64, Vec<u8>)> = Vec::new();
        for second in 0..seconds {
            let at = start.plus_ms(second as i64 * 1000);
            for (number, (sender, patient)) in patients.iter_mut().enumerate() {
                let at = at.plus_ms(37 * number as i64);
                let readings = patient.step().to_vec();
                let replay = if sender.bed == scenario.replay.bed { Some(&scenario.replay) } else { None };
                let readings = beds::shown(replay, &mut past, second, readings);
                let message = sender.write(&format!("{}-{second}", sender.bed), at, &readings);
                if sender.bed == resend.bed {
                    tape.push(message.clone());
                }
                sent.push((at, number as u64, message));
            }
            if let Some(step) = second.checked_sub(resend.at_s)
                && step < resend.to_s - resend.from_s
            {
                let at = at.plus_ms(450);
                let old = &tape[(resend.from_s + step) as usize];
                sent.push((at, 100, beds::restamped(old, &format!("RS{step}"), at)));
            }
            if let Some(step) = second.checked_sub(second_sender.at_s)
                && step < second_sender.for_s
            {
                let at = at.plus_ms(500);
                let readings = beds::shifted(intruder_patient.step(), second_sender.heart_rate_offset);
                sent.push((at, 101, intruder.write(&format!("WR{step}"), at, &readings)));
            }
        }
        let envelope = Envelope { site: "demo".into(), boot: "test".into(), replay: None, href: true };
        let (mut ledger, screen) = (Ledger::new(&scenario), Screen(None));
        for (sequence, (at, connection, message)) in sent.iter().enumerate() {
            let source = Source {
                feed: "demo".into(),
                peer: if *connection == 101 { "127.0.0.2" } else { "127.0.0.1" }.into(),
                connection: *connection,
                ward: "main".into(),
                dialect: None,
                zone: None,
                ..Source::default()
            };
            monitor.handle_frame(&source, sequence as u64 + 1, message, *at);
            while let Some(output) = monitor.poll_output() {
                if let Output::Alert(event) = output {
                    let caught = Caught::read(event.to_json(&envelope).as_bytes()).unwrap();
                    ledger.take(caught, event.ts.since_s(start), &screen);
                }
            }
        }
        ledger.complaints(seconds as f64)
    }

    #[test]
    fn all_attacks_are_caught_the_advisory_is_told_and_nothing_else_is_raised() {
        for seed in [20_260_107, 1, 2, 3] {
            assert_eq!(played(seed, 240), Vec::<String>::new(), "seed {seed}");
        }
    }

    #[test]
    fn the_scenario_is_whole_and_its_attacks_can_be_seen() {
        let scenario: Scenario = toml::from_str(SCENARIO).unwrap();
        assert_eq!(scenario.bed.len(), 12);
        for bed in [&scenario.second_sender.bed, &scenario.resend.bed, &scenario.replay.bed] {
            assert!(scenario.bed.iter().any(|b| b.bed == *bed));
        }
        // Old times under a new id count from 60 s on, and a sender is known after 50 messages.
        assert!(scenario.resend.at_s > scenario.resend.to_s + 60);
        assert!(scenario.second_sender.at_s >= 20);
        // The interval is known after ten messages; window and width of T07 are 45 s and 32 s, or 75 s and 32 s.
        let replay = &scenario.replay;
        assert!(
            replay.from_s > 11 && replay.for_s < 120 && replay.from_s + replay.for_s < replay.at_s && replay.for_s >= 45 + 32
        );
    }

    #[test]
    fn all_attacks_the_advisory_and_nothing_else_is_a_good_end() {
        let scenario: Scenario = toml::from_str(SCENARIO).unwrap();
        let screen = Screen(None);
        let mut ledger = Ledger::new(&scenario);
        let advised = |priority: &str, text: &str| Caught { text: text.into(), ..alert("B13", "N01 advisory_match", priority) };
        // An advisory is no matter for nurses, and names what it is about.
        ledger.take(advised("low", "x"), 21.0, &screen);
        assert_eq!(ledger.complaints(300.0).len(), 4);
        ledger.take(advised("low", "CMS8000 ICSMA-25-030-01"), 21.0, &screen);
        ledger.take(alert("B07", "P02 second_sender", "high"), 45.0, &screen);
        assert_eq!(ledger.complaints(300.0).len(), 2);
        ledger.take(alert("B04", "P01 control_id_reuse", "high"), 95.0, &screen);
        ledger.take(alert("B01", "T04 single_stuck", "info"), 96.0, &screen);
        assert_eq!(ledger.complaints(300.0).len(), 1);
        ledger.take(alert("B12", "T07 self_replay", "high"), 245.0, &screen);
        assert!(ledger.complaints(300.0).is_empty(), "two minutes are in time");
        ledger.take(alert("B01", "A07 hr_vs_pr", "medium"), 97.0, &screen);
        assert_eq!(ledger.complaints(300.0).len(), 1);
    }

    #[test]
    fn an_alert_before_the_attack_or_too_late_does_not_count() {
        let scenario: Scenario = toml::from_str(SCENARIO).unwrap();
        let screen = Screen(None);
        let mut ledger = Ledger::new(&scenario);
        ledger.take(alert("B07", "P02 second_sender", "high"), 10.0, &screen);
        ledger.take(alert("B04", "P01 control_id_reuse", "high"), 125.0, &screen);
        ledger.take(alert("B12", "T07 self_replay", "high"), 245.1, &screen);
        let complaints = ledger.complaints(300.0);
        assert_eq!(complaints.len(), 5, "{complaints:?}");
        let advised = Caught { text: "ICSMA-25-030-01".into(), ..alert("B13", "N01 advisory_match", "medium") };
        ledger.take(advised, 21.0, &screen);
        assert_eq!(ledger.complaints(300.0).len(), 6);
    }
}
