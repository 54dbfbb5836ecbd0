declare_check! {
    /// ## What it does
    /// Says that no station is connected to the broker.
    /// ## Why it matters
    /// An alert that nobody sees helps nobody.
    /// ## How it decides
    /// No station has announced itself as online for the limit.
    /// ## Known false alerts
    /// A ward without a station page; stations that read MQTT without announcing themselves.
    /// ## References
    /// Design choice.
    "S04" "no_station_listening" class=Liveness evidence=false weights=(0, 0, 0) rest=Silence
    {
        /// Without a station, s. Lower: reloading a page is told.
        absent_s: f64 = 120.0;
    }
}
