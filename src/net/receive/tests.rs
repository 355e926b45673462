use super::*;

struct Streams(Receiving);

impl Streams {
    fn charge(&self, ledger: &Ledger, bytes: usize) -> bool {
        self.0.pool().charge(ledger.0.id, bytes, Instant::now())
    }

    fn is_given_up(&self, ledger: &Ledger) -> bool {
        self.0.pool().streams[&ledger.0.id].is_given_up
    }
}

async fn pass(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn the_oldest_message_may_finish_and_silent_senders_make_room() {
    let receiving = Receiving::new(100, 0);
    let streams = Streams(receiving.clone());
    let (whole, oldest, silent, new) = (
        receiving.stream(),
        receiving.stream(),
        receiving.stream(),
        receiving.stream(),
    );
    assert!(streams.charge(&whole, 40));
    whole.complete();
    pass(10).await;
    assert!(streams.charge(&oldest, 30));
    pass(10).await;
    assert!(streams.charge(&silent, 30));
    assert!(!streams.charge(&new, 10), "the pool is full");
    assert!(streams.charge(&oldest, 10), "its turn");
    assert!(!streams.charge(&new, 10));

    pass(1_990).await;
    assert!(streams.charge(&oldest, 10));
    assert!(!streams.is_given_up(&silent));
    pass(20).await;
    assert!(!streams.charge(&new, 10));
    assert!(streams.is_given_up(&silent) && !streams.is_given_up(&whole));
    assert!(!streams.is_given_up(&oldest) && receiving.given_up() == 1);
    drop(silent);
    assert_eq!(receiving.used(), 90);
    assert!(streams.charge(&new, 10));

    whole.release(40);
    assert_eq!(receiving.used(), 60);
    drop((whole, oldest, new));
    assert_eq!(receiving.used(), 0);
    assert!(receiving.pool().streams.is_empty() && receiving.pool().turn.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_turn_ends_and_who_waits_for_room_is_not_slow() {
    let receiving = Receiving::new(100, 0);
    let streams = Streams(receiving.clone());
    let (slow, fast) = (receiving.stream(), receiving.stream());
    assert!(streams.charge(&slow, 50));
    pass(10).await;
    assert!(streams.charge(&fast, 50));
    // One sends a byte now and then and never ends; the other waits for room.
    let mut turns = 0;
    while !streams.is_given_up(&slow) {
        assert!(!streams.charge(&fast, 20));
        pass(500).await;
        let is_granted = streams.charge(&slow, 1);
        assert_ne!(is_granted, streams.is_given_up(&slow));
        turns += 1;
        assert!(turns <= 22, "its turn ends");
    }
    assert!(!streams.is_given_up(&fast));
    drop(slow);
    assert!(streams.charge(&fast, 20));
}

#[tokio::test(start_paused = true)]
async fn short_messages_come_while_long_ones_fill_the_pool() {
    let receiving = Receiving::new(4 * SHORT, SHORT);
    let streams = Streams(receiving.clone());
    let (long, longer) = (receiving.stream(), receiving.stream());
    let (short, other, grows) = (receiving.stream(), receiving.stream(), receiving.stream());
    assert!(streams.charge(&long, 4 * SHORT));
    assert!(
        !streams.charge(&longer, SHORT + 1),
        "too long for the reserve"
    );
    assert!(streams.charge(&short, SHORT / 2) && streams.charge(&grows, SHORT / 4));
    assert!(
        !streams.charge(&other, SHORT / 2),
        "the reserve is full, too"
    );
    assert_eq!(receiving.used(), 4 * SHORT + SHORT / 2 + SHORT / 4);

    // What is held goes along when a message grows beyond what is short.
    assert!(!streams.charge(&grows, SHORT));
    drop(long);
    assert!(streams.charge(&grows, SHORT));
    assert!(streams.charge(&other, SHORT / 2));
    assert_eq!(receiving.used(), 2 * SHORT + SHORT / 4);

    short.release(SHORT / 2);
    drop((longer, short, other, grows));
    assert_eq!(receiving.used(), 0);
    let pool = receiving.pool();
    assert_eq!((pool.used, pool.reserve_used), (0, 0));
}
