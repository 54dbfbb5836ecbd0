//! What binds a message to its bed, its patient, its device and its sender, as far as the monitor knows it.
//!
//! Checks of identity read it beside the message. It is made anew for every message and is never kept.

use crate::observation::AgeBand;

/// How the sender of a message stands to the site's list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Permit {
    /// A rule fits, or the list is open.
    #[default]
    Fits,
    /// The list is closed, and no rule fits.
    Unlisted,
    /// A rule fits but for this: it demands TLS, and the message came in plain text.
    Plain,
    /// A rule fits but for its certificate.
    Certificate,
}

/// A doubt about where a patient lies.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Misplaced {
    #[default]
    No,
    /// Values go on so long after the discharge, seconds.
    Discharged(f64),
    /// Admissions are heard from this ward; of this patient none came for so long, seconds.
    Unadmitted(f64),
    /// ADT says for so long, seconds, that this patient lies in another bed ([`Bond::other`]).
    Elsewhere(f64),
}

/// What is known of one message's identity.
#[derive(Debug, Clone, PartialEq)]
pub struct Bond {
    /// Keyed hash of the patient that the message names, aliases resolved; 0: none.
    pub patient: u64,
    /// Keyed hash of who lay there before it; 0: nobody known.
    pub lay: u64,
    /// Since the bed's last message, seconds; infinite at its first.
    pub gap_s: f64,
    /// ADT was heard from this ward within seven days.
    pub adt: bool,
    /// An ADT of this bed or of its patient came within ten minutes.
    pub explained: bool,
    /// ADT says that the patient of the message lies here.
    pub confirmed: bool,
    /// The patient was live in another bed ([`Bond::other`]) that fell silent.
    pub moved: bool,
    /// The patient is live in another bed ([`Bond::other`]), too.
    pub two_beds: bool,
    /// The patient came from the bed ([`Bond::other`]) where the one lies now who lay here before.
    pub swapped: bool,
    pub misplaced: Misplaced,
    /// The other bed: its number within the monitor, and its id.
    pub other_bed: Option<u32>,
    pub other: String,
    /// The category that the message sends.
    pub class: Option<AgeBand>,
    /// Category and birth date contradict each other.
    pub contradiction: bool,
    pub permit: Permit,
    /// The site has declared a device of the message quarantined.
    pub quarantined: bool,
}

/// Of a message of which nothing is known.
pub static UNBOUND: Bond = Bond::NONE;

impl Default for Bond {
    fn default() -> Bond {
        Bond::NONE
    }
}

impl Bond {
    /// Nothing is known.
    pub const NONE: Bond = Bond {
        patient: 0,
        lay: 0,
        gap_s: f64::INFINITY,
        adt: false,
        explained: false,
        confirmed: false,
        moved: false,
        two_beds: false,
        swapped: false,
        misplaced: Misplaced::No,
        other_bed: None,
        other: String::new(),
        class: None,
        contradiction: false,
        permit: Permit::Fits,
        quarantined: false,
    };

    /// As [`Bond::NONE`]; keeps its memory.
    pub fn clear(&mut self) {
        let mut other = std::mem::take(&mut self.other);
        other.clear();
        *self = Bond { other, ..Bond::NONE };
    }
}
