declare_check! {
    /// ## What it does
    /// Says that a host speaks to a file server's port of the address block that advisory ICSMA-25-030-01 names.
    /// ## Why it matters
    /// Devices of the advisory mount a file system from there and take files over their own: whoever holds the address can replace what runs on them.
    /// ## How it decides
    /// Packets between a host and the block, port 2049 or 111, TCP or UDP. At other addresses these ports are only counted.
    /// ## Known false alerts
    /// A scan of the network.
    /// ## References
    /// CVE-2025-0626 and CVE-2025-1204, CISA ICSMA-25-030-01; the mount command from a public YARA rule of 1 February 2025; ports of NFS and of its port mapper (RFC 7530, RFC 1833).
    "N05" "indicator_nfs" class=Provenance evidence=false weights=(0, 0, 0) rest=Advisory
    {
    }
}
