//! Why a topology file cannot be used.

/// What is wrong, with the place in the file: `hosts[2].rnics[0]` is the first RNIC of the third host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WiringError {
    /// Nothing in it.
    #[error(r#"the file is empty; expected {{"links":[…],"hosts":[…]}}"#)]
    Empty,
    /// Not JSON, or not of the form.
    #[error("line {line}, column {column}: {why}")]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        why: String,
    },
    /// No host.
    #[error(
        r#"there are no hosts: nothing can probe; write "hosts":[{{"name":"h0","tor":"tor0"}},…]"#
    )]
    NoHosts,
    /// A name that cannot be one.
    #[error("{place}: `{name}` is not a name of a {what}: {why}")]
    Name {
        /// Where.
        place: String,
        /// The text.
        name: String,
        /// What it should name.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A cable from a node to itself.
    #[error("{place}: `{node}` has a link to itself")]
    Loop {
        /// Where.
        place: String,
        /// The node.
        node: String,
    },
    /// A cable between two hosts.
    #[error("{place}: a link joins the hosts `{a}` and `{b}`; one of its ends has to be a switch")]
    HostToHost {
        /// Where.
        place: String,
        /// One end.
        a: String,
        /// The other end.
        b: String,
    },
    /// A cable of a host or RNIC to another switch than its ToR.
    #[error(
        "{place}: a link joins `{end}` and `{switch}`, but `hosts` has it under `{tors}`; write RNICs under several ToRs as \
         {{\"name\":\"HOST\",\"rnics\":[{{\"device\":\"mlx5_0\",\"tor\":\"{tors}\"}},{{\"device\":\"mlx5_1\",\"tor\":\"{switch}\"}}]}}"
    )]
    OtherTor {
        /// Where.
        place: String,
        /// The host or RNIC.
        end: String,
        /// The switch that the link names.
        switch: String,
        /// The ToRs that `hosts` names.
        tors: String,
    },
    /// The cable of a host or RNIC, which is there once, listed again.
    #[error(
        "{place}: the link between `{end}` and `{switch}` is listed already; a host's link is implied by `hosts`"
    )]
    DuplicateLink {
        /// Where the second one is.
        place: String,
        /// The host or RNIC.
        end: String,
        /// Its ToR.
        switch: String,
    },
    /// A host listed twice.
    #[error(
        "{place}: the host `{host}` is listed already; one entry has all its RNICs: \
         {{\"name\":\"{host}\",\"rnics\":[{{\"device\":\"mlx5_0\",\"tor\":\"…\"}},…]}}"
    )]
    HostTwice {
        /// Where the second one is.
        place: String,
        /// The host.
        host: String,
    },
    /// An RNIC listed twice.
    #[error(
        "{place}: the RNIC `{rnic}` is listed already; write two ToRs of one RNIC (a bond) as \"tors\":[\"a\",\"b\"]"
    )]
    RnicTwice {
        /// Where the second one is.
        place: String,
        /// Its name.
        rnic: String,
    },
    /// A host without a ToR, or with both forms.
    #[error(
        "{place}: the host `{host}` needs either `tor` (for all its RNICs) or `rnics` (at least one)"
    )]
    HostForm {
        /// Where.
        place: String,
        /// The host.
        host: String,
    },
    /// An RNIC without a ToR, or with both forms.
    #[error("{place}: the RNIC `{rnic}` needs either `tor` or, for a bond, `tors`")]
    RnicForm {
        /// Where.
        place: String,
        /// Its name.
        rnic: String,
    },
    /// A bond with fewer than two ToRs.
    #[error(
        "{place}: the bond `{rnic}` has {count} ToRs under `tors`, two or more are needed; one ToR is written as `tor`"
    )]
    Bond {
        /// Where.
        place: String,
        /// Its name.
        rnic: String,
        /// How many different ones it has.
        count: usize,
    },
    /// A ToR that nothing else names, where there are links.
    #[error(
        "{place}: `{end}` is under `{tor}`, which no link names; add its links, or list it under `switches` if it has none"
    )]
    UnknownTor {
        /// Where.
        place: String,
        /// The host or RNIC.
        end: String,
        /// The ToR.
        tor: String,
    },
    /// A host as the ToR of another.
    #[error("{place}: `{end}` has the ToR `{tor}`, which is a host too")]
    TorIsHost {
        /// Where.
        place: String,
        /// The host or RNIC.
        end: String,
        /// The ToR.
        tor: String,
    },
    /// A switch under `switches` that no link and no host names.
    #[error("{place}: addresses of the switch `{switch}`, which no link and no host names")]
    UnknownSwitch {
        /// Where.
        place: String,
        /// The switch.
        switch: String,
    },
    /// Not an address, and not another name of a switch either.
    #[error(
        "{place}: `{address}` of the switch `{switch}` is not an IP address; write 10.2.0.2 or fd00::1, without a prefix length"
    )]
    Address {
        /// Where.
        place: String,
        /// The switch.
        switch: String,
        /// The text.
        address: String,
    },
    /// One address of two switches.
    #[error("{place}: the switches `{other}` and `{switch}` have the same address `{address}`")]
    AddressTwice {
        /// Where the second one is.
        place: String,
        /// The switch there.
        switch: String,
        /// The switch that has it already.
        other: String,
        /// The address.
        address: String,
    },
}
