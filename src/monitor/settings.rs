//! What a [`Monitor`](super::Monitor) is told once, at its beginning.

use crate::advisory::Advisories;
use crate::check::Checks;
use crate::config::{Beds, Compare, Config, Devices, Episodes, Profiles, Senders};
use crate::models::Models;
use crate::profile::Profile;
use std::sync::Arc;

/// Key of the hashes where the site has none (replay to a file): the same input then gives the same bytes everywhere.
pub const FIXED_KEY: &[u8] = b"vitalguard-fixed-key-for-replay-0";

/// The part of the configuration that decides what is judged and said.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Slug of the installation.
    pub site: String,
    /// Key of `dev-…`, `p-…`, `m-…`, and of the hashes of patients and senders.
    pub site_key: Vec<u8>,
    /// IANA name: times without offset, and times of day in sentences.
    pub zone: String,
    /// IANA names of the listeners' own zones.
    pub zones: Vec<String>,
    pub beds: Beds,
    pub senders: Senders,
    /// Feeds that are copies, and of which.
    pub compare: Arc<[Compare]>,
    pub devices: Devices,
    /// What is published of devices: ours, or with the site's file ([`Settings::with_advisories`]).
    pub advisories: Arc<Advisories>,
    pub episodes: Episodes,
    pub checks: Checks,
    pub profiles: Profiles,
    /// The model files: ours, or with the site's folder ([`Settings::with_models`]).
    pub models: Arc<Models>,
    /// Profiles beside those that are part of the program; they win.
    pub shelf: Vec<Profile>,
    /// Checks that say nothing, one bit for each place in the catalogue (measurements of what the others find alone).
    pub muted: u128,
    /// Publish what people write into comments.
    pub publish_comments: bool,
}

impl Settings {
    /// From the configuration; `site_key` is what its key file holds.
    pub fn new(config: &Config, site_key: &[u8]) -> Settings {
        Settings {
            site: config.site.clone(),
            site_key: site_key.to_vec(),
            zone: config.zone.clone(),
            zones: config.mllp.iter().filter_map(|mllp| mllp.zone.clone()).collect(),
            beds: config.beds.clone(),
            senders: config.senders.clone(),
            compare: config.compare.clone().into(),
            devices: config.devices.clone(),
            advisories: Advisories::shipped(),
            episodes: config.episodes.clone(),
            checks: config.checks.clone(),
            profiles: config.profiles,
            models: Models::shipped(),
            shelf: Vec::new(),
            muted: 0,
            publish_comments: config.privacy.publish_comments,
        }
    }
}

impl Settings {
    /// With other advisories than those that are part of the program.
    pub fn with_advisories(mut self, advisories: Arc<Advisories>) -> Settings {
        self.advisories = advisories;
        self
    }

    /// With other model files than those that are part of the program.
    pub fn with_models(mut self, models: Arc<Models>) -> Settings {
        self.models = models;
        self
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings::new(&Config::default(), FIXED_KEY)
    }
}
