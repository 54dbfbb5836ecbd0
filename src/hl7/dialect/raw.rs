//! The file of a table, as TOML has it, and its way to a checked [`Table`].

use super::choose::{Feature, Test};
use super::{
    ControlId, DeviceSource, Identity, KindRow, Meaning, Moved, Path, ROWS_MAX, Role, Row, RowAlarm, Scaled, System, Table,
    TableError, Technical, Wave, XMeans, fixed_unit,
};
use crate::observation::{AlarmKind, AlarmPriority, MessageKind};
use crate::vital::{ParamSet, Parameter};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    name: String,
    title: String,
    certainty: String,
    origin: String,
    #[serde(default)]
    monitor: bool,
    #[serde(default)]
    least: u32,
    #[serde(default)]
    includes: Vec<String>,
    #[serde(default)]
    mdil_arithmetic: bool,
    #[serde(default)]
    bare_system: String,
    #[serde(default)]
    obr_time: Vec<usize>,
    #[serde(default)]
    sentinels: Vec<f64>,
    #[serde(default)]
    x_with_number: XMeans,
    #[serde(default)]
    unit_always: bool,
    test_processing: Option<Vec<String>>,
    #[serde(default)]
    order: Vec<String>,
    #[serde(default)]
    laboratory: Vec<String>,
    #[serde(default)]
    control_id: ControlId,
    #[serde(default)]
    identity: RawIdentity,
    #[serde(default, rename = "match")]
    features: Vec<RawFeature>,
    #[serde(default)]
    kinds: Vec<RawKind>,
    #[serde(default)]
    alarm_state_in_obx4: bool,
    #[serde(default)]
    unit_ignored: bool,
    #[serde(default)]
    charted: bool,
    #[serde(default)]
    label_codes: Vec<String>,
    #[serde(default)]
    places: Vec<RawMoved>,
    #[serde(default)]
    waves: Vec<RawWave>,
    #[serde(default)]
    technical: Vec<RawTechnical>,
    #[serde(default)]
    technical_words: Vec<String>,
    #[serde(default)]
    codes: Vec<RawRow>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawIdentity {
    prefer: Vec<String>,
    fallback: Vec<String>,
    point_of_care: String,
    room: String,
    bed: String,
    class: String,
    per_connection: bool,
    devices: Vec<String>,
}

impl Default for RawIdentity {
    fn default() -> Self {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        RawIdentity {
            prefer: words(&["MR", "PI"]),
            fallback: words(&["PID-2", "PID-4"]),
            point_of_care: "PV1-3.1".into(),
            room: "PV1-3.2".into(),
            bed: "PV1-3.3.1".into(),
            class: String::new(),
            per_connection: false,
            devices: words(&["OBX-18", "PRT-10", "MSH-3", "PV1-3.9"]),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFeature {
    field: OneOrMany,
    is: Option<Vec<String>>,
    prefix: Option<Vec<String>>,
    contains: Option<Vec<String>>,
    empty: Option<bool>,
    digits: Option<usize>,
    stamp: Option<bool>,
    filled: Option<bool>,
    #[serde(default = "one")]
    weight: u32,
}

fn one() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKind {
    control_id: String,
    kind: MessageKind,
    #[serde(default)]
    alarm: AlarmKind,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTechnical {
    #[serde(default)]
    code: String,
    #[serde(default)]
    text: String,
    parameters: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMoved {
    parameter: Parameter,
    place: String,
    to: Parameter,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWave {
    name: String,
    parameters: Vec<Parameter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRow {
    #[serde(default)]
    system: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    labels: Vec<String>,
    parameter: Option<String>,
    role: Option<Role>,
    unit: Option<String>,
    scale: Option<f64>,
    #[serde(default)]
    channel: String,
    priority: Option<AlarmPriority>,
    alarm: Option<AlarmKind>,
    scaled: Option<Scaled>,
    #[serde(default)]
    scale_unknown: bool,
}

/// Reads one file: the table without its look-ups, and the names of the tables it includes.
pub(super) fn read(file: &str, text: &str) -> Result<(Table, Vec<String>), TableError> {
    let raw: RawTable = toml::from_str(text)
        .map_err(|error| TableError::Syntax { file: file.into(), message: error.to_string().trim().to_owned() })?;
    let refuse = |message: String| TableError::Table { file: file.into(), message };
    if raw.name.is_empty() || !raw.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return Err(refuse(format!("`{}` is no name (a-z, 0-9, _)", raw.name)));
    }
    if file.strip_suffix(".toml") != Some(&raw.name) {
        return Err(refuse(format!("the table calls itself `{}`", raw.name)));
    }
    if raw.codes.len() > ROWS_MAX {
        return Err(refuse(format!("more than {ROWS_MAX} rows")));
    }
    let path = |text: &str| Path::parse(text).ok_or_else(|| refuse(format!("`{text}` is no field (write `PV1-3.1`)")));
    let optional = |text: &str| if text.is_empty() { Ok(None) } else { path(text).map(Some) };

    let mut features = Vec::new();
    for feature in raw.features {
        let names = match feature.field {
            OneOrMany::One(name) => vec![name],
            OneOrMany::Many(names) => names,
        };
        let fields = names.iter().map(|name| path(name)).collect::<Result<Vec<_>, _>>()?;
        if let Some(odd) = fields.iter().find(|field| !Feature::allowed(**field)) {
            return Err(refuse(format!(
                "a feature cannot look at {odd} (only at MSH-3 to MSH-21 but MSH-7, at OBR-4, OBX-3 and OBX-6)"
            )));
        }
        let tests = [
            feature.is.map(Test::Is),
            feature.prefix.map(Test::Prefix),
            feature.contains.map(Test::Contains),
            feature.empty.map(|_| Test::Empty),
            feature.digits.map(Test::Digits),
            feature.stamp.map(|_| Test::Stamp),
            feature.filled.map(|_| Test::Filled),
        ];
        let mut tests = tests.into_iter().flatten();
        let (Some(test), None) = (tests.next(), tests.next()) else {
            return Err(refuse(format!(
                "the feature of {} needs one of is, prefix, contains, empty, filled, digits, stamp",
                names.join(", ")
            )));
        };
        features.push(Feature { fields, test, weight: feature.weight });
    }
    if raw.least > 0 && features.iter().map(|feature| feature.weight).sum::<u32>() < raw.least {
        return Err(refuse("`least` is more than all its features weigh".into()));
    }

    let mut devices = Vec::new();
    for name in &raw.identity.devices {
        devices.push(match name.as_str() {
            "OBX-18" => DeviceSource::Obx18,
            "PRT-10" => DeviceSource::Prt10,
            "MSH-3" => DeviceSource::Msh3Eui,
            other => DeviceSource::At(path(other)?),
        });
    }
    let identity = Identity {
        prefer: raw.identity.prefer,
        fallback: raw.identity.fallback.iter().map(|name| path(name)).collect::<Result<_, _>>()?,
        point_of_care: optional(&raw.identity.point_of_care)?,
        room: optional(&raw.identity.room)?,
        bed: optional(&raw.identity.bed)?,
        class: optional(&raw.identity.class)?,
        per_connection: raw.identity.per_connection,
        devices,
    };

    let mut rows = Vec::new();
    for (number, row) in raw.codes.into_iter().enumerate() {
        rows.push(read_row(row).map_err(|message| TableError::Row { file: file.into(), row: number + 1, message })?);
    }

    let mut technical = Vec::new();
    for row in raw.technical {
        let mut parameters = ParamSet::EMPTY;
        for key in &row.parameters {
            parameters = parameters.with(Parameter::from_key(key).ok_or_else(|| refuse(format!("no parameter `{key}`")))?);
        }
        if row.code.is_empty() && row.text.is_empty() {
            return Err(refuse("a technical alarm needs a code or a text".into()));
        }
        technical.push(Technical { code: row.code, text: row.text.to_lowercase(), parameters });
    }

    let mut places = Vec::new();
    for moved in raw.places {
        if moved.place.is_empty() || moved.parameter.unit() != moved.to.unit() {
            return Err(refuse("a place needs the beginning of an OBX-4 and two parameters of one unit".into()));
        }
        places.push(Moved { from: moved.parameter, place: moved.place, to: moved.to });
    }
    let mut waves = Vec::new();
    for wave in raw.waves {
        if wave.name.is_empty() {
            return Err(refuse("a waveform needs a name".into()));
        }
        waves.push(Wave { name: wave.name, parameters: wave.parameters.into_iter().collect() });
    }

    let mut order = Vec::new();
    for name in &raw.order {
        order.push(name.as_bytes().try_into().map_err(|_| refuse(format!("`{name}` is no segment")))?);
    }
    if let Some(odd) = raw.obr_time.iter().find(|n| !(1..=49).contains(*n)) {
        return Err(refuse(format!("OBR has no field {odd}")));
    }
    if raw.sentinels.len() > 32 {
        return Err(refuse("more than 32 sentinels".into()));
    }

    let table = Table {
        // For good: the program's tables are read once, a site's own when it starts.
        name: Box::leak(raw.name.into_boxed_str()),
        title: raw.title,
        certainty: raw.certainty,
        origin: raw.origin,
        monitor: raw.monitor,
        least: raw.least,
        features,
        mdil_arithmetic: raw.mdil_arithmetic,
        bare_system: System::named(&raw.bare_system),
        control_id: raw.control_id,
        identity,
        obr_time: if raw.obr_time.is_empty() { vec![7] } else { raw.obr_time },
        sentinels: raw.sentinels,
        x_with_number: raw.x_with_number,
        unit_always: raw.unit_always,
        test_processing: raw.test_processing.unwrap_or_else(|| vec!["T".into(), "D".into()]),
        order,
        kinds: raw
            .kinds
            .into_iter()
            .map(|row| KindRow { control_id: row.control_id, kind: row.kind, alarm: row.alarm })
            .collect(),
        alarm_state_in_obx4: raw.alarm_state_in_obx4,
        unit_ignored: raw.unit_ignored,
        charted: raw.charted,
        scales: rows.iter().any(|row| row.scaled.is_some()),
        label_codes: raw.label_codes,
        places,
        own_waves: waves.len(),
        waves,
        laboratory: raw.laboratory.iter().map(|word| word.to_lowercase()).collect(),
        technical,
        technical_words: raw.technical_words.iter().map(|word| word.to_lowercase()).collect(),
        rows,
        codes: Default::default(),
        labels: Default::default(),
    };
    Ok((table, raw.includes))
}

fn read_row(row: RawRow) -> Result<Row, String> {
    let system = System::named(&row.system);
    if system == System::Other {
        return Err(format!("no coding system `{}`", row.system));
    }
    if row.code.is_empty() && row.labels.is_empty() {
        return Err("neither code nor label".into());
    }
    let meaning = match (&row.parameter, row.role) {
        (Some(key), None) => Meaning::Parameter(Parameter::from_key(key).ok_or_else(|| format!("no parameter `{key}`"))?),
        (None, Some(role)) => Meaning::Role(role),
        _ => return Err("needs either a parameter or a role".into()),
    };
    let unit = match (&row.unit, meaning) {
        (None, _) => None,
        (Some(text), Meaning::Parameter(parameter)) => {
            let unit = fixed_unit(text).ok_or_else(|| format!("no unit `{text}`"))?;
            unit.into_canonical(parameter).ok_or_else(|| format!("{} cannot be written in `{text}`", parameter.key()))?;
            Some(unit)
        }
        (Some(_), Meaning::Role(_)) => return Err("a unit without a parameter".into()),
    };
    let scale = row.scale.unwrap_or(1.0);
    if !scale.is_finite() || scale <= 0.0 {
        return Err("the scale is not above 0".into());
    }
    let alarm = RowAlarm { priority: row.priority.unwrap_or_default(), kind: row.alarm.unwrap_or_default() };
    if alarm != RowAlarm::default() && !matches!(meaning, Meaning::Role(Role::Alarm | Role::Inop)) {
        return Err("a priority or a kind of alarm without an alarm".into());
    }
    if let Some(scaled) = &row.scaled {
        if unit.is_none() {
            return Err("scaled integers need a unit".into());
        }
        let (from, to) = scaled.high;
        if !(from > 0.0 && from <= to && to < 10.0 * from) {
            return Err("the upper limits of scaled integers must span less than ten times".into());
        }
    }
    let scaled = row.scaled.or(row.scale_unknown.then_some(Scaled::UNKNOWN));
    Ok(Row { system, code: row.code, labels: row.labels, meaning, unit, scale, channel: row.channel, alarm, scaled })
}
