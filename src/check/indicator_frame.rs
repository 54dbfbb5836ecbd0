declare_check! {
    /// ## What it does
    /// Says that a host sends frames like those of the CMS8000 family's telemetry, at whatever address and port.
    /// ## Why it matters
    /// Such a device sends patient data in clear, and the family is the one of advisory ICSMA-25-030-01; a changed address hides it from an address list.
    /// ## How it decides
    /// At least three frames in a row in one direction of a TCP connection: a little-endian length of what follows, 05, one of 3E 43 45 46 47 49, and the next frame where the length says. One alert a host.
    /// ## Known false alerts
    /// A central station that such devices are meant to speak to. A print job on TCP 515 is none: it has the ASCII name of a queue in the second place.
    /// ## References
    /// Derived from two independent public descriptions of the telemetry; CISA ICSMA-25-030-01 (TCP 515, proprietary).
    "N03" "indicator_frame" class=Provenance evidence=false weights=(0, 0, 0) rest=Advisory
    {
    }
}
