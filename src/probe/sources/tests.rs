use std::net::Ipv4Addr;

use super::*;

fn gid(number: u32) -> Gid {
    Gid::from(Ipv4Addr::from_bits(0x0a00_0000 | number))
}

fn at(millis: i64) -> HostTime {
    HostTime::from_nanos(millis * 1_000_000)
}

struct Responder {
    sources: Sources,
    counters: Counters,
}

impl Responder {
    fn new() -> Self {
        Self {
            sources: Sources::new(&ResponderConfig::default(), 7),
            counters: Counters::default(),
        }
    }

    fn answers(&mut self, source: Gid, session: u64, now: HostTime) -> bool {
        self.sources
            .admit(source, SessionId(session), now, &mut self.counters)
    }

    /// A prober that probes ten times a second from `start` for `seconds`; gives how many of its probes are answered.
    fn probe(&mut self, source: Gid, session: u64, start: i64, seconds: i64) -> u32 {
        let answered =
            (0..seconds * 10).filter(|turn| self.answers(source, session, at(start + turn * 100)));
        u32::try_from(answered.count()).expect("few")
    }
}

/// What `probeflood.py` does: the address of a peer, a new session number in each packet.
#[test]
fn forged_probes_of_a_peers_address_cost_the_peer_none() {
    let mut responder = Responder::new();
    let (peer, own) = (gid(1), 0xfeed);
    assert_eq!(responder.probe(peer, own, 0, 5), 50);
    let (mut forged, mut answered) = (0_u64, 0);
    // 5 000 forged probes a second for 10 s, beside the peer's own 10.
    for millis in 5_000..15_000 {
        for _ in 0..5 {
            forged += 1;
            if responder.answers(peer, forged << 20, at(millis)) {
                answered += 1;
            }
        }
        if millis % 100 == 0 {
            assert!(
                responder.answers(peer, own, at(millis)),
                "the peer's probe at {millis} ms"
            );
        }
    }
    // A tenth of the rate of a source, and the burst.
    assert!(
        (1_500..=1_600).contains(&answered),
        "{answered} of {forged}"
    );
    assert_eq!(responder.counters.probes_refused_rate, 0);
    assert_eq!(responder.counters.probes_refused_new, forged - answered);
}

#[test]
fn forged_probes_of_many_addresses_draw_a_bounded_number_of_answers() {
    let mut responder = Responder::new();
    let mut answered = 0;
    let mut forged = 0_u64;
    // 50 000 probes a second from as many addresses.
    for millis in 0..2_000 {
        for _ in 0..50 {
            forged += 1;
            let source = gid(u32::try_from(forged % 0x00ff_ffff).expect("24 bits"));
            if responder.answers(source, forged, at(millis)) {
                answered += 1;
            }
        }
    }
    let bound = 2 * 5_000 + 1_024;
    assert!(answered <= bound, "{answered} of {forged}");
    assert!(responder.sources.remembered <= MOST_SESSIONS);
    assert_eq!(responder.counters.probes_refused_new, forged - answered);
}

#[test]
fn known_sessions_have_bounds_of_their_own() {
    let mut responder = Responder::new();
    // One session number in all packets becomes known, and is bounded as any other.
    let answered = (0..20_000).filter(|turn| responder.answers(gid(1), 5, at(turn / 10)));
    let answered = answered.count();
    assert!((3_000..=3_200).contains(&answered), "{answered}");
    assert!(responder.counters.probes_refused_rate > 10_000);

    // Not more than so many sessions of one source become known.
    let mut responder = Responder::new();
    for session in 0..10 {
        responder.probe(
            gid(1),
            session,
            i64::try_from(session).expect("few") * 2_000,
            2,
        );
    }
    let known = responder.sources.sessions[&gid(1)]
        .iter()
        .filter(|session| session.is_known());
    assert_eq!(known.count(), SESSIONS_PER_SOURCE);
}

#[test]
fn all_sources_together_are_bounded() {
    let mut responder = Responder::new();
    for turn in 0..20 {
        for source in 0..200 {
            assert!(responder.answers(gid(source), 1, at(turn * 100)));
        }
    }
    // 200 known probers with a thousand probes a second each.
    let mut answered = 0_u64;
    for millis in 10_000..11_000 {
        for source in 0..200 {
            answered += u64::from(responder.answers(gid(source), 1, at(millis)));
        }
    }
    assert!((50_000..=54_100).contains(&answered), "{answered}");
    assert_eq!(responder.counters.probes_refused_busy, 200_000 - answered);
}

#[test]
fn silent_sessions_make_room() {
    let mut responder = Responder::new();
    for session in 0..4 {
        responder.probe(gid(1), session, 0, 2);
    }
    assert_eq!(responder.sources.remembered, 4);
    assert!(responder.answers(gid(2), 1, at(70_000)));
    assert_eq!(responder.sources.remembered, 1);
    assert!(!responder.sources.sessions.contains_key(&gid(1)));
}
