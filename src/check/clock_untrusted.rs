declare_check! {
    /// ## What it does
    /// Says that the own clock cannot be trusted.
    /// ## Why it matters
    /// Onset times, stale marks and every comparison with a sender's time depend on it.
    /// ## How it decides
    /// The clock stepped by more than the limit, or nearly all senders disagree with it in the same way.
    /// ## Known false alerts
    /// The first synchronisation after a start.
    /// ## References
    /// Design choice.
    "S07" "clock_untrusted" class=Liveness evidence=false weights=(0, 0, 0) rest=Silence
    {
        /// Step of the own clock, s. Lower: ordinary slewing is told.
        step_s: f64 = 2.0;
    }
}
