declare_check! {
    /// ## What it does
    /// Says that another publisher speaks under this site's name.
    /// ## Why it matters
    /// Two publishers overwrite each other's states; one of them may be a copy that was forgotten, or a stranger.
    /// ## How it decides
    /// A foreign heartbeat under the own site: publishing stops, and this is told.
    /// ## Known false alerts
    /// A second installation with the same `site` in its configuration.
    /// ## References
    /// The outgoing contract: one publisher a site.
    "S03" "publisher_conflict" class=Liveness evidence=false weights=(0, 0, 0) rest=Identity
    {
    }
}
