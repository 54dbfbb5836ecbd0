declare_check! {
    /// ## What it does
    /// Says that the journal could not be written.
    /// ## Why it matters
    /// A message that is not in the journal is not acknowledged: the feed stands still until the disk writes again.
    /// ## How it decides
    /// The shell reports it at the first failed write and takes it back at the first good one.
    /// ## Known false alerts
    /// None known.
    /// ## References
    /// Invariant of the shell: durable before acknowledged.
    "S01" "journal_failed" class=Liveness evidence=false weights=(0, 0, 0) rest=Silence
    {
    }
}
