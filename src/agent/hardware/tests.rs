use super::*;
use crate::analysis::hardware::CounterName;

fn ports(counters: &[(&str, u64)]) -> Ports {
    let name = RnicName {
        device: "mlx5_0".into(),
        port: 1,
    };
    let counters = counters
        .iter()
        .map(|(name, value)| (CounterName::new(name).expect("a name"), *value))
        .collect();
    Ports::from([(name, counters)])
}

fn shown(rises: &[PortRise]) -> Vec<String> {
    rises
        .iter()
        .flat_map(|rise| &rise.counters)
        .map(|(name, by)| format!("{}+{by}", name.as_str()))
        .collect()
}

#[test]
fn only_counters_of_faults_that_rose_are_told_of() {
    let before = ports(&[
        ("out_of_sequence", 5),
        ("port_rcv_data", 5),
        ("symbol_error", 9),
        ("link_downed", 1),
    ]);
    let now = ports(&[
        ("out_of_sequence", 8),
        ("port_rcv_data", 500),
        ("symbol_error", 2),
        ("link_downed", 1),
        ("packet_seq_err", 7),
    ]);
    assert_eq!(shown(&risen(&before, &now)), ["out_of_sequence+3"]);
    assert!(
        risen(&Ports::new(), &now).is_empty(),
        "a port that is new has a past that is not ours"
    );
    assert!(
        risen(&now, &Ports::new()).is_empty(),
        "a port that has gone"
    );
}

#[tokio::test]
async fn what_finds_no_place_is_told_of_with_the_next_reading() {
    let (_keep, inventory) = watch::channel(Inventory::new());
    let (sender, mut receiver) = mpsc::channel(1);
    let mut task = Hardware::new(None, inventory, sender, Arc::new(Metrics::new()));
    for value in [5, 6, 8, 11] {
        task.take(ports(&[("out_of_sequence", value)]));
    }
    assert_eq!(
        shown(&receiver.recv().await.expect("the first")),
        ["out_of_sequence+1"]
    );
    task.take(ports(&[("out_of_sequence", 12)]));
    assert_eq!(
        shown(&receiver.recv().await.expect("the rest")),
        ["out_of_sequence+6"]
    );
}
