declare_check! {
    /// ## What it does
    /// Says that far more alerts are raised than usual.
    /// ## Why it matters
    /// A flood hides the one alert that matters.
    /// ## How it decides
    /// More alerts in an hour than the limit times the hourly usual, and more than the minimum: the rate is capped, nothing is lost; tamper, identity and physiology are never capped.
    /// ## Known false alerts
    /// A large network fault, a new device model.
    /// ## References
    /// Bonafide 2015: slower response after many alarms; the limits are design choices.
    "S05" "alert_flood" class=Liveness evidence=false weights=(0, 0, 0) rest=Silence
    {
        /// Multiple of the hourly usual, 1. Lower: busy nights are told.
        times_usual: f64 = 5.0;
        /// Alerts in an hour at least, count. Lower: at small sites three alerts are a flood.
        alerts_min: f64 = 20.0;
    }
}
