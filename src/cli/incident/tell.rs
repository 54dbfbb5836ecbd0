//! Cases for a person at a terminal.

use serde_json::Value;
use std::io::Write;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// What is left of a clock, as people say it; a term that is over says so.
fn left(ms: i64) -> String {
    let minutes = ms.unsigned_abs() / 60_000;
    let (days, hours, minutes) = (minutes / 1_440, minutes / 60 % 24, minutes % 60);
    let span = match days {
        0 => format!("{hours} h {minutes:02} min"),
        _ => format!("{days} d {hours} h"),
    };
    if ms < 0 { format!("over for {span}") } else { format!("{span} left") }
}

fn clocks(list: &Value, out: &mut impl Write) -> std::io::Result<()> {
    for clock in list.as_array().into_iter().flatten() {
        let state = match text(&clock["state"]["is"]) {
            "running" if clock["information"] == true => "for information".to_owned(),
            "running" => left(clock["left_ms"].as_i64().unwrap_or_default()),
            "filed" => format!("filed by {} at {}", text(&clock["state"]["by"]), text(&clock["state"]["at"])),
            _ => format!("withdrawn by {} at {}", text(&clock["state"]["by"]), text(&clock["state"]["at"])),
        };
        writeln!(
            out,
            "  clock  {:<24} due {}  {state}\n         {}\n         from {} (knowledge as stated), {}; source: {} [{}]",
            text(&clock["id"]),
            text(&clock["due_at"]),
            text(&clock["condition"]["en"]),
            text(&clock["starts_at"]),
            text(&clock["term"]["en"]),
            text(&clock["source"]["en"]),
            text(&clock["mark"]),
        )?;
    }
    Ok(())
}

fn head(case: &Value, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{}  {:<6}  version {}  {}", text(&case["id"]), text(&case["state"]), case["version"], text(&case["title"]))?;
    writeln!(out, "  opened by {} at {}", text(&case["opened"]["user"]), text(&case["opened"]["at"]))?;
    if let Some(closed) = case["closed"].as_object() {
        let (by, until) = (&closed["by"], &closed["keep_until"]);
        writeln!(out, "  closed by {} at {}, evidence kept until {}", text(&by["user"]), text(&by["at"]), text(until))?;
    }
    Ok(())
}

pub(super) fn list(list: &Value, out: &mut impl Write) -> std::io::Result<()> {
    let cases = list["cases"].as_array().map(Vec::as_slice).unwrap_or_default();
    if cases.is_empty() {
        writeln!(out, "no cases")?;
    }
    for case in cases {
        head(case, out)?;
        for alert in case["alerts"].as_array().into_iter().flatten() {
            writeln!(out, "  alert  {}", text(alert))?;
        }
        clocks(&case["clocks"], out)?;
    }
    Ok(())
}

/// What a step has made of a case.
pub(super) fn done(answer: &Value, out: &mut impl Write) -> std::io::Result<()> {
    let case = &answer["case"];
    head(case, out)?;
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for item in case["items"].as_array().into_iter().flatten() {
        *counts.entry(text(&item["item"])).or_default() += 1;
    }
    let held: Vec<_> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    if !held.is_empty() {
        writeln!(out, "  holds  {}", held.join(", "))?;
    }
    for line in answer["missing"].as_array().into_iter().flatten() {
        writeln!(out, "  not there: {}", text(line))?;
    }
    clocks(&answer["clocks"], out)
}

pub(super) fn case(shown: &Value, out: &mut impl Write) -> std::io::Result<()> {
    head(&shown["case"], out)?;
    for item in shown["case"]["items"].as_array().into_iter().flatten() {
        let mut what = item.clone();
        if let Some(map) = what.as_object_mut() {
            for key in ["number", "by", "item", "record"] {
                map.remove(key);
            }
        }
        writeln!(out, "  {:>4}   {:<10} {what}", item["number"], text(&item["item"]))?;
    }
    for (field, set) in shown["case"]["fields"].as_object().into_iter().flatten() {
        writeln!(out, "  field  {field} = {} ({} at {})", text(&set["value"]), text(&set["by"]["user"]), text(&set["by"]["at"]))?;
    }
    clocks(&shown["clocks"], out)?;
    for step in shown["steps"].as_array().into_iter().flatten() {
        let mut what = step["step"].clone();
        if let Some(map) = what.as_object_mut() {
            map.remove("step");
            if let Some(item) = map.get_mut("item").and_then(Value::as_object_mut) {
                item.remove("record");
            }
        }
        writeln!(
            out,
            "  step   {} v{} record {} {} ({}): {} {what}",
            text(&step["at"]),
            step["version"],
            step["sequence"],
            text(&step["user"]),
            text(&step["via"]),
            text(&step["step"]["step"]),
        )?;
    }
    Ok(())
}
