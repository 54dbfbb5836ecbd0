//! Example events as inline SVG: what was sent, what the patient had, what the bed's statistics expect, what was said.

use super::{Example, Panel, Point};
use crate::html::escape;
use std::fmt::Write as _;

const WIDTH: f64 = 920.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const HEIGHT: f64 = 120.0;
const GAP: f64 = 24.0;
const ALERTS: f64 = 26.0;

/// One example: a panel for each parameter, a line for each alert, one time axis.
pub fn svg(example: &Example) -> String {
    let points = || example.panels.iter().flat_map(|p| &p.points);
    let (from, to) = points().fold((f64::MAX, f64::MIN), |(a, b), p| (a.min(p.t), b.max(p.t)));
    if from >= to {
        return String::new();
    }
    let x = move |t: f64| LEFT + (t.clamp(from, to) - from) / (to - from) * (WIDTH - LEFT - RIGHT);
    let alerts_top = example.panels.len() as f64 * (HEIGHT + GAP) + 4.0;
    let height = alerts_top + example.alerts.len().min(8) as f64 * ALERTS + 28.0;
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">", escape(&example.title));
    let (a, b) = (x(example.start_s), x(example.end_s));
    let _ = write!(
        out,
        "<rect class=\"attack\" x=\"{a:.1}\" y=\"0\" width=\"{:.1}\" height=\"{:.1}\"/>",
        (b - a).max(1.5),
        alerts_top - 4.0
    );
    for (row, panel) in example.panels.iter().enumerate() {
        draw(&mut out, panel, row as f64 * (HEIGHT + GAP) + 16.0, &x);
    }
    for (row, alert) in example.alerts.iter().take(8).enumerate() {
        let y = alerts_top + row as f64 * ALERTS;
        let (a, b) = (x(alert.from_s), x(alert.to_s));
        let class = if alert.nurse { "nurse" } else { "engineer" };
        let _ = write!(
            out,
            "<rect class=\"{class} {0}\" x=\"{a:.1}\" y=\"{y:.1}\" width=\"{1:.1}\" height=\"9\"><title>{2}</title></rect>",
            escape(&alert.assessment),
            (b - a).max(3.0),
            escape(&alert.text)
        );
        let label = escape(&alert.text);
        let _ = write!(out, "<text class=\"label\" x=\"{LEFT}\" y=\"{:.1}\">{label}</text>", y + 20.0);
    }
    axis(&mut out, from, to, height - 6.0, &x);
    out.push_str("</svg>");
    out
}

fn axis(out: &mut String, from: f64, to: f64, y: f64, x: &impl Fn(f64) -> f64) {
    let step = [10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14_400.0, 86_400.0]
        .into_iter()
        .find(|s| (to - from) / s <= 10.0)
        .unwrap_or(86_400.0);
    let mut t = (from / step).ceil() * step;
    while t <= to {
        let label = if step < 60.0 { format!("{t:.0} s") } else { format!("{:.0} min", t / 60.0) };
        let _ = write!(out, "<text class=\"tick\" x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>", x(t));
        t += step;
    }
}

fn draw(out: &mut String, panel: &Panel, top: f64, x: &impl Fn(f64) -> f64) {
    let values = panel.points.iter().flat_map(|p| [p.sent, p.truth].into_iter().flatten()).filter(|v| v.is_finite());
    let (mut low, mut high) = values.fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
    if low > high {
        (low, high) = (0.0, 1.0);
    }
    for (a, b) in panel.points.iter().filter_map(|p| p.band) {
        // The band is drawn as far as it is near what was measured.
        let room = (high - low).max(4.0);
        low = low.min(a.max(low - room));
        high = high.max(b.min(high + room));
    }
    let room = ((high - low) * 0.08).max(1.0);
    let (low, high) = (low - room, high + room);
    let y = |v: f64| top + HEIGHT - 16.0 - (v.clamp(low, high) - low) / (high - low) * (HEIGHT - 16.0);
    let _ = write!(
        out,
        "<text class=\"name\" x=\"{LEFT}\" y=\"{:.1}\">{} ({})</text>",
        top - 4.0,
        escape(&panel.name),
        escape(&panel.unit)
    );
    for v in [low + room, (low + high) / 2.0, high - room] {
        let _ =
            write!(out, "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{v:.0}</text>", LEFT - 5.0, y(v) + 3.5);
        let _ = write!(out, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{1:.1}\" y2=\"{1:.1}\"/>", WIDTH - RIGHT, y(v));
    }
    // The band, as one polygon for each stretch that has one.
    let mut stretch: Vec<&Point> = Vec::new();
    for point in panel.points.iter().map(Some).chain([None]) {
        match point {
            Some(p) if p.band.is_some() => stretch.push(p),
            _ => {
                if stretch.len() > 1 {
                    let up = stretch.iter().filter_map(|p| p.band.map(|b| (p.t, b.1)));
                    let down = stretch.iter().rev().filter_map(|p| p.band.map(|b| (p.t, b.0)));
                    let list: Vec<String> = up.chain(down).map(|(t, v)| format!("{:.1},{:.1}", x(t), y(v))).collect();
                    let _ = write!(out, "<polygon class=\"band\" points=\"{}\"/>", list.join(" "));
                }
                stretch.clear();
            }
        }
    }
    let mut line = |class: &str, pick: &dyn Fn(&Point) -> Option<f64>| {
        let mut path = String::new();
        let mut before: Option<f64> = None;
        for p in &panel.points {
            match pick(p).filter(|v| v.is_finite()) {
                Some(v) => {
                    let word = if before.is_some() { 'L' } else { 'M' };
                    let _ = write!(path, "{word}{:.1} {:.1}", x(p.t), y(v));
                    before = Some(v);
                }
                None => before = None,
            }
        }
        if !path.is_empty() {
            let _ = write!(out, "<path class=\"{class}\" d=\"{path}\"/>");
        }
    };
    line("truth", &|p| p.truth);
    line("sent", &|p| p.sent);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::report::Mark;

    #[test]
    fn an_example_is_drawn_and_its_texts_cannot_break_out() {
        let point = |t: f64| Point { t, sent: Some(70.0 + t), truth: Some(70.0), band: Some((60.0, 80.0)) };
        let panel = Panel { name: "hr".into(), unit: "/min".into(), points: (0..100).map(|t| point(f64::from(t))).collect() };
        let alert = Mark { from_s: 30.0, to_s: 60.0, assessment: "tamper".into(), nurse: true, text: "<b>&\"".into() };
        let example = Example {
            title: "a \"b\"".into(),
            note: String::new(),
            start_s: 20.0,
            end_s: 80.0,
            panels: vec![panel],
            alerts: vec![alert],
        };
        let text = svg(&example);
        assert!(text.starts_with("<svg") && text.ends_with("</svg>") && text.contains("class=\"band\""));
        assert!(!text.contains("<b>") && text.contains("&lt;b&gt;&amp;&quot;"));
        assert_eq!(svg(&Example { panels: Vec::new(), ..example }), "");
    }
}
