declare_check! {
    /// ## What it does
    /// Says that what a device declares names a product, or a product family, of a security advisory.
    /// ## Why it matters
    /// Which devices are on the feed is the first question of an advisory; a list on paper is older than the network.
    /// ## How it decides
    /// The words of MSH-3, MSH-4, SFT, OBX-18 and PRT-10 and the site's own inventory are compared with the patterns of the
    /// advisory data, each time a device declares something new. A vendor alone makes no alert. Low until a person has taken
    /// note, information afterwards; over when the site says that the advisory is mitigated or accepted, or the device stands
    /// elsewhere. A version that the device declares of itself never ends it.
    /// ## Known false alerts
    /// A device that calls itself by another's name; a corrected version of the product; a family pattern (the alert then says
    /// that the model is not known).
    /// ## References
    /// The advisory data (`vitalguard advisories`), each entry with its source and date; CVE-2026-64934 on versions that a device
    /// states of itself.
    "N01" "advisory_match" class=Provenance evidence=false weights=(0, 0, 0) rest=Advisory
    {
    }
}
