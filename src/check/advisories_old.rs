declare_check! {
    /// ## What it does
    /// Says that the security advisories known here are old.
    /// ## Why it matters
    /// A device with a known fault is shown without it.
    /// ## How it decides
    /// The date of the advisory data (the newer one of ours and of the site's file) lies further back than the limit, or than
    /// the data themselves ask for (`warn_after_days`).
    /// ## Known false alerts
    /// An installation without updates by decision.
    /// ## References
    /// The limit is that of the advisory data (`warn_after_days`); design choice.
    "S06" "advisories_old" class=Liveness evidence=false weights=(0, 0, 0) rest=Silence
    {
        /// Age of the advisory data, d. Lower: told between releases.
        age_days: f64 = 90.0;
    }
}
