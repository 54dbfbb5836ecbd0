//! A device as it is shown: over HTTP and by the command line. Ids are hashes; what might be a serial number is left out.

use super::entry::Entry;
use crate::advisory::{Advisories, Field, Level, Status, VersionState, masked};
use crate::alert::rfc3339;
use crate::config::DeviceState;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One text as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredText {
    /// `MSH-3`, `OBX-18/PRT-10`, …
    pub field: String,
    pub text: String,
}

/// One advisory that a device's words name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvisoryInfo {
    pub id: String,
    pub title: String,
    pub published: String,
    #[serde(rename = "match")]
    pub level: Level,
    /// What the level means, for people.
    pub wording: String,
    /// The words that matched, and where they stood.
    pub matched: String,
    pub field: String,
    /// For an exact match; a version that a device declares of itself never clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_state: Option<VersionState>,
    pub status: Status,
}

/// What names the device itself: on explicit request and on this machine only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identified {
    /// EUI-64, MAC, serial or address as its messages name it.
    pub key: String,
    pub declared: Vec<DeclaredText>,
}

/// One device of the inventory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// `dev-…`.
    pub device: String,
    /// As declared, never proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    pub state: DeviceState,
    /// Where it stands now; absent: a sender without a bed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ward: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bed: Option<String>,
    /// Every bed that it was heard at, `ward/bed`, the first 16.
    pub beds: Vec<String>,
    pub beds_more: bool,
    /// `p-…`, the first 4.
    pub peers: Vec<String>,
    pub peers_more: bool,
    pub messages: u64,
    pub rate_per_s: f64,
    /// Its clock minus ours, ms, median; absent: not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew_ms: Option<i64>,
    #[serde(with = "rfc3339")]
    pub first_seen: Timestamp,
    #[serde(with = "rfc3339")]
    pub last_seen: Timestamp,
    pub declared: Vec<DeclaredText>,
    /// Further declared texts that were not kept.
    pub declared_more: u32,
    /// As declared.
    pub versions: Vec<String>,
    pub advisories: Vec<AdvisoryInfo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identified: Option<Identified>,
}

/// A device with what names it where `identified`. `place` names a bed by its number.
pub(in crate::monitor) fn info<'a>(
    entry: &Entry,
    data: &Advisories,
    place: &dyn Fn(u32) -> Option<(&'a str, &'a str)>,
    identified: bool,
    now: Timestamp,
) -> DeviceInfo {
    let here = entry.bed.and_then(place);
    let texts = |mask: bool| {
        entry
            .texts
            .iter()
            // What stands in the header of a gateway is said of the gateway.
            .filter(|text| text.own)
            .map(|text| DeclaredText {
                field: text.field.as_str().to_owned(),
                text: if mask { masked(&text.text.replace('^', " "), &entry.key) } else { text.text.clone() },
            })
            .collect::<Vec<_>>()
    };
    let versions = entry.all_versions();
    let advisories = entry
        .matches
        .iter()
        .filter_map(|held| {
            let advisory = data.of(&held.found)?;
            let exact = held.found.level == Level::Exact;
            Some(AdvisoryInfo {
                id: advisory.id.clone(),
                title: advisory.title.clone(),
                published: advisory.date.clone(),
                level: held.found.level,
                wording: held.found.level.wording().to_owned(),
                matched: held.found.words.clone(),
                field: Field::as_str(held.found.field).to_owned(),
                version_state: exact.then(|| data.version_state(&held.found, &versions)),
                status: held.status,
            })
        })
        .collect();
    DeviceInfo {
        device: entry.id.clone(),
        model: entry.model(),
        state: entry.state(),
        ward: here.map(|(ward, _)| ward.to_owned()),
        bed: here.map(|(_, bed)| bed.to_owned()),
        beds: entry.beds.iter().filter_map(|bed| place(*bed)).map(|(ward, bed)| format!("{ward}/{bed}")).collect(),
        beds_more: entry.beds_more,
        peers: entry.peers.clone(),
        peers_more: entry.peers_more,
        messages: entry.messages,
        rate_per_s: (entry.rate_per_s(now) * 100.0).round() / 100.0,
        skew_ms: entry.skew_ms(),
        first_seen: entry.first_seen,
        last_seen: entry.last_seen,
        declared: texts(true),
        declared_more: entry.texts_more,
        versions,
        advisories,
        identified: identified.then(|| Identified { key: entry.key.clone(), declared: texts(false) }),
    }
}
