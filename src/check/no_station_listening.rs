declare_check! {
    /// ## What it does
    /// Says that no station listens while something is open.
    /// ## Why it matters
    /// An alert that nobody sees helps nobody.
    /// ## How it decides
    /// A high or medium alert is open, and for the limit no station was online. A station is online from its own word until its
    /// will says otherwise, or 45 s after its last word. Where none has ever announced itself nothing is said, unless the
    /// configuration expects one.
    /// ## Known false alerts
    /// Stations that read MQTT without announcing themselves beside one that once did; the night of a ward that has none.
    /// ## References
    /// Design choice.
    "S04" "no_station_listening" class=Liveness evidence=false weights=(0, 0, 0) rest=Silence
    {
        /// Without a station, s. Lower: reloading a page is told. Design choice.
        absent_s: f64 = 10.0;
    }
}
