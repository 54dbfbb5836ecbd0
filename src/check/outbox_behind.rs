declare_check! {
    /// ## What it does
    /// Says that alerts wait for the broker.
    /// ## Why it matters
    /// Stations show an old picture while the broker is slow or away.
    /// ## How it decides
    /// The oldest unsent document is older than the limit, or more than so many wait.
    /// ## Known false alerts
    /// A restart of an external broker.
    /// ## References
    /// MQTT 3.1.1, 4.3.2 (at least once); the limits are design choices.
    "S02" "outbox_behind" class=Liveness evidence=false weights=(0, 0, 0) rest=Silence
    {
        /// Age of the oldest unsent document, s. Lower: a restart of the broker is told. Higher: stations are old for longer.
        waiting_s: f64 = 30.0;
        /// Documents that wait, count. Lower: a burst is told.
        waiting_documents: f64 = 1000.0;
    }
}
