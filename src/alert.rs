//! What leaves the house: alerts, their events, and the state documents of beds and wards (the outgoing contract).

/// One lifecycle event of an alert (`alert-event/1`).
#[derive(Debug, Clone)]
pub struct AlertEvent {}
