declare_check! {
    /// ## What it does
    /// Says that a host sends telemetry frames of the type that holds the patient's identity, without encryption.
    /// ## Why it matters
    /// Name, number, birth date and physician can be read by everyone on the way, and may leave the house.
    /// ## How it decides
    /// The frames of N03, of type 3E. HL7 in clear is not meant: that is how MLLP is, and the network's own matter.
    /// ## Known false alerts
    /// Those of N03; a device that sends empty identity frames.
    /// ## References
    /// CVE-2025-0683, CISA ICSMA-25-030-01: patient data in clear to a fixed public address.
    "N04" "identity_in_clear" class=Provenance evidence=false weights=(0, 0, 0) rest=Advisory
    {
    }
}
