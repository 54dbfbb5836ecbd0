declare_check! {
    /// ## What it does
    /// Says that the security advisories known here are old.
    /// ## Why it matters
    /// A device with a known fault is shown without it.
    /// ## How it decides
    /// The data are older than the limit.
    /// ## Known false alerts
    /// An installation without updates by decision.
    /// ## References
    /// Design choice.
    "S06" "advisories_old" class=Liveness evidence=false weights=(0, 0, 0) rest=Silence
    {
        /// Age of the advisory data, d. Lower: told between releases.
        age_days: f64 = 180.0;
    }
}
