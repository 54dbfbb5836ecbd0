declare_check! {
    /// ## What it does
    /// Says that a host exchanges packets with the address block that advisory ICSMA-25-030-01 names, 202.114.4.0/24.
    /// ## Why it matters
    /// Devices of the advisory send patient data to one address of the block in their default setting, and mount files from it.
    /// ## How it decides
    /// Any packet to or from the block in a capture, a question for one of its addresses (ARP) included. One alert a host. Of a host that the site has declared quarantined it is an identity alert of high priority.
    /// ## Known false alerts
    /// The same addresses are printed in manuals of other makers and are used by other devices: the address names no product. A scan of the network, and packets that are already blocked behind the place of capture, are seen too.
    /// ## References
    /// CISA ICSMA-25-030-01, Update A (25 February 2025): block 202.114.4.0/24, or 202.114.4.119 and 202.114.4.120.
    "N02" "indicator_address" class=Provenance evidence=false weights=(0, 0, 0) rest=Advisory
    {
    }
}
