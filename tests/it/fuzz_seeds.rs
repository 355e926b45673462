//! The inputs that the fuzz targets begin with (`fuzz/seeds`): what our own encoders make, so that a target is behind its parser's
//! first checks at once. `RPINGMESH_UPDATE_DOCS=1 cargo nextest run fuzz_seeds` writes them.
//!
//! Each target is given some of them here, bent at random, always in the same way: what a change breaks plainly shows without
//! `cargo xtask fuzz`, which needs minutes to compile.

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a library of its own for the fuzz targets")]
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use prost::Message as _;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rpingmesh::analysis::report::{Sender, SpoolId};
use rpingmesh::analysis::shards::ShardId;
use rpingmesh::fault::Fault;
use rpingmesh::id::{AgentId, FlowLabel, Gid, HostName, QKey, Qpn, UdpSourcePort};
use rpingmesh::rpc::relay::{Condensed, Outgoing, PathBook, Said, Standing, Told, frame};
use rpingmesh::rpc::results::Received;
use rpingmesh::rpc::shards::ShardEpoch;
use rpingmesh::rpc::v1;
use rpingmesh::service::pods::PodNames;
use rpingmesh::service::rules::Rule;
use rpingmesh::time::Nanos;
use rpingmesh::topology::import::cables::{self, HostPatterns};
use rpingmesh::topology::import::slurm;
use rpingmesh::topology::lldp::Neighbours;
use rpingmesh::topology::wiring::Wiring;
use rpingmesh::transport::Payload;
use rpingmesh::transport::userspace::icrc::{Addresses, Headers};
use rpingmesh::transport::userspace::packet::{Datagram, Repr};
use rpingmesh::wire::{Body, ClusterKey, Ends, Keyring, Packet, ReversePath, Sequence, SessionId};
use rpingmesh_ebpf_event::{EventKind, QpEvent};

use crate::analyzer::harness;

/// Set it to write the files instead of comparing them.
const UPDATE: &str = "RPINGMESH_UPDATE_DOCS";
/// The most bytes of all files: they are in every clone.
const MOST: usize = 200 << 10;
/// That of the target `wire`.
const KEY: [u8; 32] = [7; 32];

/// Bent inputs of each target.
const INPUTS: usize = 400;

type Seeds = BTreeMap<String, Vec<u8>>;

fn ends() -> Ends {
    Ends {
        source: Gid::from(Ipv4Addr::new(10, 0, 0, 1)),
        destination: Gid::from(Ipv4Addr::new(10, 0, 0, 2)),
    }
}

fn qpn(number: u32) -> Qpn {
    Qpn::from_lower_bits(number)
}

fn bodies() -> Vec<(&'static str, Body)> {
    let probe = |reverse_path| Body::Probe {
        reply_label: FlowLabel::new(0x1234).expect("a label"),
        reply_key: QKey(0x1111_1111),
        reverse_path,
        reply_class: None,
    };
    vec![
        ("probe", probe(ReversePath::Unasked)),
        ("probe-asks", probe(ReversePath::Healthy)),
        ("probe-failing", probe(ReversePath::Failing)),
        (
            "first-ack",
            Body::FirstAck {
                responder: qpn(0x11),
                seen: Some(UdpSourcePort(50_000)),
            },
        ),
        (
            "first-ack-blind",
            Body::FirstAck {
                responder: qpn(0x11),
                seen: None,
            },
        ),
        (
            "second-ack",
            Body::SecondAck {
                responder: qpn(0x11),
                delay: Nanos(-7),
            },
        ),
    ]
}

fn packet(body: Body) -> Packet {
    Packet {
        session: SessionId(0x0123_4567_89ab_cdef),
        sequence: Sequence(u64::MAX),
        body,
    }
}

fn keyrings() -> [(&'static str, Keyring); 2] {
    let key = ClusterKey::new(&KEY).expect("a key");
    [
        ("", Keyring::unkeyed()),
        ("-signed", Keyring::new(vec![key])),
    ]
}

fn wire() -> Seeds {
    let mut seeds = Seeds::new();
    for (name, body) in bodies() {
        for (suffix, keys) in keyrings() {
            let payload = packet(body).encode(ends(), &keys);
            let again = Packet::decode(payload.as_slice(), ends(), &keys);
            assert_eq!(again, Ok(packet(body)), "{name}{suffix}");
            seeds.insert(format!("{name}{suffix}"), payload.as_slice().to_vec());
        }
    }
    seeds
}

fn roce_packet() -> Seeds {
    let headers = Headers {
        addresses: Addresses::V4 {
            source: Ipv4Addr::new(10, 0, 0, 1),
            destination: Ipv4Addr::new(10, 0, 0, 2),
        },
        source_port: 0xc350,
        destination_port: 4791,
    };
    let probe = packet(bodies()[0].1).encode(ends(), &Keyring::unkeyed());
    let payloads = [
        ("probe", probe),
        ("empty", Payload::new(&[]).expect("a payload")),
    ];
    let mut seeds = Seeds::new();
    for (name, payload) in payloads {
        let repr = Repr {
            destination_qpn: qpn(0x11),
            source_qpn: qpn(0x12),
            q_key: QKey(0x1111_1111),
            psn: 3,
            payload,
        };
        let encoded = repr.emit(&headers);
        let datagram = Datagram::new_checked(encoded.as_slice()).expect("a datagram");
        assert_eq!(Repr::parse(&datagram).as_ref(), Ok(&repr));
        // Flags, an identification, the source port.
        let mut bytes = vec![1, 0, 0, 0xc3, 0x50];
        bytes.extend(encoded.as_slice());
        seeds.insert(name.to_owned(), bytes);
    }
    seeds
}

fn announcement() -> v1::Announcement {
    let rnic = |rail: u8| v1::Rnic {
        address: Some(v1::RnicAddress {
            gid: Gid::from(Ipv4Addr::new(10, rail, 0, 1))
                .bytes()
                .to_vec()
                .into(),
            qpn: 0x11,
            q_key: 0x1111_1111,
        }),
        device: format!("mlx5_{rail}"),
        port: 1,
        tor: format!("leaf0-r{rail}"),
        gid_index: 3,
        completion_clock: v1::CompletionClock::HardwareWall.into(),
        steering: v1::SourcePortSteering::FlowLabel.into(),
        source_ports: Vec::new(),
    };
    v1::Announcement {
        agent_id: "host0".to_owned(),
        incarnation: 7,
        host: "host0".to_owned(),
        version: "0.1.0".to_owned(),
        rnics: vec![rnic(0), rnic(1)],
        machine: String::new(),
        keys: None,
    }
}

fn pinglist(rnic: &v1::Rnic) -> v1::Pinglist {
    let target = v1::ProbeTarget {
        address: rnic.address.clone(),
        tor: rnic.tor.clone(),
        host: "host0".to_owned(),
        device: rnic.device.clone(),
        flow_label: 0x1234,
    };
    let group = |kind: v1::ProbeKind| v1::ProbeGroup {
        kind: kind.into(),
        probes_per_second: 10.0,
        targets: vec![target.clone()],
    };
    v1::Pinglist {
        rnics: vec![v1::RnicPinglist {
            source_gid: Gid::from(Ipv4Addr::new(10, 0, 0, 2))
                .bytes()
                .to_vec()
                .into(),
            groups: vec![
                group(v1::ProbeKind::TorMesh),
                group(v1::ProbeKind::InterTor),
            ],
        }],
        shortfalls: vec![v1::CoverageShortfall {
            source_tor: "tor0".to_owned(),
            target_tor: "tor1".to_owned(),
            limit: v1::CoverageLimit::Rate.into(),
            paths: 16,
            tuples: 40,
            wanted_tuples: 72,
            coverage: 0.8,
            link_probes_per_second: 5.0,
        }],
    }
}

fn key_report() -> v1::KeyReport {
    let print = |byte| vec![byte; 8].into();
    v1::KeyReport {
        own: false,
        lineage: print(1),
        generation: 7,
        phase: v1::KeyPhase::Signing.into(),
        verifies: vec![print(2), print(3)],
        signs: print(3),
        takes_unsigned: true,
    }
}

fn cluster_keys() -> v1::ClusterKeys {
    v1::ClusterKeys {
        lineage: vec![1; 8].into(),
        generation: 7,
        phase: v1::KeyPhase::Offered.into(),
        key: vec![2; 32].into(),
        previous: vec![3; 32].into(),
        keeps: true,
    }
}

/// The first byte says which message it is.
fn registry() -> Seeds {
    let announcement = announcement();
    let rnic = announcement.rnics[0].clone();
    let query = v1::TargetQuery {
        by: Some(v1::target_query::By::Ip("10.0.0.1".to_owned())),
    };
    let resolved = v1::ResolvedRnic {
        rnic: Some(rnic.clone()),
        host: "host0".to_owned(),
        agent_id: "host0".to_owned(),
    };
    let messages = [
        ("announcement", 0, announcement.encode_to_vec()),
        ("query", 1, query.encode_to_vec()),
        ("resolved", 2, resolved.encode_to_vec()),
        ("pinglist", 3, pinglist(&rnic).encode_to_vec()),
        ("key_report", 4, key_report().encode_to_vec()),
        ("cluster_keys", 5, cluster_keys().encode_to_vec()),
    ];
    let seed = |(name, kind, message): (&str, u8, Vec<u8>)| {
        let bytes = [vec![kind], message].concat();
        (name.to_owned(), bytes)
    };
    messages.into_iter().map(seed).collect()
}

fn upload() -> Seeds {
    let paths = vec![harness::report(1, 2, 5, 2), harness::report(2, 1, 3, 3)];
    let mut batch = harness::batch(1, 20, paths);
    batch.traces = vec![harness::trace(1, 2, 19, "tor0 - tor1")];
    let empty = harness::batch(2, 21, Vec::new());
    Seeds::from([
        ("results".to_owned(), batch.encode_to_vec()),
        ("empty".to_owned(), empty.encode_to_vec()),
    ])
}

/// Two batches as an analyzer passes them on, with columns that are not compressed.
fn relay() -> Seeds {
    let mut book = PathBook::default();
    let paths = vec![harness::report(1, 2, 5, 2), harness::report(2, 1, 3, 3)];
    let batches = [
        harness::batch(1, 20, paths.clone()),
        harness::batch(2, 21, paths),
    ];
    let condensed = batches.map(|batch| {
        let received = Received::read(
            &batch.encode_to_vec(),
            &rpingmesh::rpc::results::Ends::default(),
        );
        Condensed::of(received.expect("a batch"), &mut book)
    });
    let (mut told, mut paths) = (Told::default(), Vec::new());
    let sender = Sender {
        agent: AgentId::new("agent"),
        spool: SpoolId(7),
    };
    let host = HostName::new("host1");
    let mut items = Vec::new();
    for batch in &condensed {
        batch.untold(&book, &mut told, &mut paths);
        items.push(Outgoing {
            sender: &sender,
            host: &host,
            version: None,
            again: false,
            late: false,
            content: Said::Batch(batch, Standing::default()),
        });
    }
    let shard = ShardEpoch {
        shard: ShardId::of_tors([]),
        epoch: 1,
    };
    let mut frame = frame(1, [(shard, items)], &paths, true).expect("memory");
    let unpack = |column: &[u8]| zstd::bulk::decompress(column, 1 << 20).unwrap_or_default();
    targets::relay::each_column(frame.reports.as_mut().expect("columns"), unpack);
    Seeds::from([("frame".to_owned(), frame.encode_to_vec())])
}

fn events() -> Seeds {
    let kinds = [
        ("create", EventKind::Create),
        ("modify", EventKind::Modify),
        ("destroy", EventKind::Destroy),
    ];
    let mut seeds = Seeds::new();
    let mut life = Vec::new();
    for (name, kind) in kinds {
        let bytes = QpEvent::empty(kind).encode().to_vec();
        life.extend(&bytes);
        seeds.insert(name.to_owned(), bytes);
    }
    seeds.insert("life".to_owned(), life);
    seeds
}

fn texts<'a>(all: impl IntoIterator<Item = (&'a str, &'a str)>) -> Seeds {
    let seed = |(name, text): (&str, &str)| (name.to_owned(), text.as_bytes().to_vec());
    all.into_iter().map(seed).collect()
}

fn fault() -> Seeds {
    let all = [
        ("link", "link spine1->tor2 loss=2% at=7s for=500ms"),
        (
            "cable",
            "link spine1-tor2 corrupt=1% delay=50us jitter=20us",
        ),
        (
            "switch",
            "switch spine* blackhole=10% rate=1Gbit queue=64KiB load=90%",
        ),
        ("pause", "rnic host3/0 pause=5ms every=20ms"),
        ("clock", "rnic host3/0 clock-step=-5ms"),
        ("stall", "host host3 stall=200ms every=1s"),
    ];
    for (name, text) in all {
        assert!(text.parse::<Fault>().is_ok(), "{name}");
    }
    texts(all)
}

fn ids() -> Seeds {
    texts([
        ("gid", "::ffff:10.0.0.1"),
        ("target", "10.0.0.1%0x11"),
        ("duration", "1h 2m 3s"),
        ("size", "256MiB"),
        ("url", "https://controller.example.net:7470"),
        ("label", "0x12345"),
    ])
}

const RAILS: &str = r#"{"links":[{"a":"spine0","b":"leaf0-r0"},{"a":"spine0","b":"leaf0-r1"},{"a":"spine0","b":"tor1"}],"hosts":[{"name":"h0","tor":"tor1"},{"name":"h1","rnics":[{"device":"mlx5_0","tor":"leaf0-r0"},{"device":"mlx5_bond_0","tors":["leaf0-r0","leaf0-r1"]}]}],"switches":[{"name":"spine0","addresses":["10.2.0.2"]}]}"#;

fn wiring() -> Seeds {
    let all = [("rails", RAILS)];
    for (name, text) in all {
        assert!(Wiring::parse(text).is_ok(), "{name}");
    }
    texts(all)
}

fn lldp() -> Seeds {
    let all = [
        (
            "two",
            r#"{"lldp":[{"interface":[{"name":"eth2","chassis":[{"name":[{"value":"leaf0-r0"}]}]},{"name":"eth3","chassis":[{"id":[{"type":"mac"}]}]}]}]}"#,
        ),
        ("none", r#"{"lldp":[{}]}"#),
    ];
    for (name, text) in all {
        assert!(Neighbours::parse(text).is_ok(), "{name}");
    }
    texts(all)
}

fn pods() -> Seeds {
    let all = [
        (
            "job",
            r#"{"kind":"PodList","items":[{"metadata":{"uid":"a1b2c3d4-0000-1111-2222-333344445555","name":"train-0","namespace":"ml","labels":{"pod-template-hash":"5d4f","training.kubeflow.org/job-name":"train","training.kubeflow.org/operator-name":"mpi-operator"},"ownerReferences":[{"kind":"Job","name":"train-launcher","controller":true}]}}]}"#,
        ),
        (
            "static",
            r#"{"items":[{"metadata":{"uid":"u1","name":"x","namespace":"ml","annotations":{"kubernetes.io/config.hash":"a1b2c3d4-0000-1111-2222-333344445555"},"ownerReferences":[{"kind":"Node","name":"node1","controller":true}]}}]}"#,
        ),
    ];
    for (name, text) in all {
        let pods = PodNames::read(text.as_bytes()).expect(name);
        assert!(pods.get("a1b2c3d4-0000-1111-2222-333344445555").is_some());
    }
    texts(all)
}

fn rule() -> Seeds {
    let all = [
        ("variable", "env:JOB_NAME=batch/{1}"),
        ("cgroup", "cgroup:/batch.slice/*/job-*.scope=batch/{1}/{2}"),
    ];
    for (name, text) in all {
        assert!(text.parse::<Rule>().is_ok(), "{name}");
    }
    texts(all)
}

fn topology_import() -> Seeds {
    let tree = "SwitchName=leaf0 Nodes=n[1-3]\nSwitchName=leaf1 Nodes=n[04,7]\nSwitchName=spine0 Switches=leaf[0-1]\n";
    let table = "A,A Port,B,B-Port\nleaf0,1,spine0,1\nleaf0,2,spine0,2\nn1,mlx5_0,leaf0,11\n\"n2\",mlx5_1,leaf0,12\n";
    let hosts = HostPatterns::new(["n*".to_owned()]);
    assert!(slurm::import(tree).is_ok() && cables::import(table, &hosts).is_ok());
    texts([("slurm", tree), ("cables", table)])
}

fn localize() -> Seeds {
    let small = r#"{"links":[{"a":"t","b":"s"},{"a":"u","b":"s"}],"hosts":[{"name":"a","tor":"t"},{"name":"b","tor":"u"}]}"#;
    let line =
        r#"{"src":"a","dst":"b","path":["a","t","s","u","b"],"sent":3000,"lost":4,"window_s":20}"#;
    let both = format!("{small}\0{line}\n");
    texts([("known", both.as_str()), ("line", line)])
}

/// All targets whose inputs are made here. What the others read is in the repository as text already, or not made by us.
fn all() -> BTreeMap<&'static str, Seeds> {
    BTreeMap::from([
        ("events", events()),
        ("fault", fault()),
        ("ids", ids()),
        ("lldp", lldp()),
        ("localize", localize()),
        ("pods", pods()),
        ("registry", registry()),
        ("relay", relay()),
        ("roce_packet", roce_packet()),
        ("rule", rule()),
        ("topology_import", topology_import()),
        ("upload", upload()),
        ("wire", wire()),
        ("wiring", wiring()),
    ])
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn the_inputs_are_what_our_encoders_make() {
    let made = all();
    if std::env::var_os(UPDATE).is_some() {
        let _ = fs::remove_dir_all(folder());
        for (target, seeds) in &made {
            fs::create_dir_all(folder().join(target)).expect("a folder");
            for (name, bytes) in seeds {
                fs::write(folder().join(target).join(name), bytes).expect("written");
            }
        }
    }
    assert_eq!(names(&folder()), made.keys().copied().collect::<Vec<_>>());
    let mut size = 0;
    for (target, seeds) in &made {
        assert_eq!(
            names(&folder().join(target)),
            seeds.keys().cloned().collect::<Vec<_>>()
        );
        for (name, bytes) in seeds {
            let file = folder().join(target).join(name);
            let written = fs::read(&file).expect("readable");
            assert_eq!(written, *bytes, "{target}/{name}: write it with {UPDATE}=1");
            size += written.len();
        }
    }
    assert!(size <= MOST, "{size} bytes");
}

/// The names of all targets.
fn manifest() -> Vec<String> {
    let manifest = folder().with_file_name("Cargo.toml");
    let manifest: toml::Table =
        toml::from_str(&fs::read_to_string(manifest).expect("readable")).expect("TOML");
    let targets = manifest["bin"].as_array().expect("targets").iter();
    let name = |bin: &toml::Value| bin["name"].as_str().expect("a name").to_owned();
    targets.map(name).collect()
}

#[test]
fn every_target_with_inputs_is_in_the_manifest() {
    let targets = manifest();
    for target in all().keys() {
        assert!(targets.iter().any(|name| name == target), "{target}");
    }
}

/// What a target begins with: its inputs, the repository's own files of the kind, or nothing.
fn begins_with(target: &str) -> Vec<Vec<u8>> {
    let own = all().remove(target).unwrap_or_default();
    let folder = match target {
        "agent_config" | "server_config" => "docs/config",
        "scenario" => "tests/scenarios",
        _ => "",
    };
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    let files = files
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry").path());
    let files = files.filter(|path| !folder.is_empty() && path.is_file());
    let mut files: Vec<_> = files.collect();
    files.sort();
    let files = files.iter().map(|path| fs::read(path).expect("readable"));
    let mut found: Vec<_> = own.into_values().chain(files).collect();
    found.push(vec![0; 64]);
    found
}

/// One to eight changes: bytes that flip, change, come, go, or come from another input.
fn bend(random: &mut ChaCha8Rng, all: &[Vec<u8>]) -> Vec<u8> {
    let mut input = all.choose(random).cloned().unwrap_or_default();
    for _ in 0..random.random_range(1..=8) {
        let at = random.random_range(0..=input.len());
        let length = random.random_range(0..=16).min(input.len() - at);
        match random.random_range(0..6) {
            0 if length > 0 => input[at] ^= 1 << random.random_range(0..8),
            1 if length > 0 => input[at] = random.random(),
            2 => input.insert(at, random.random()),
            3 => drop(input.drain(at..at + length)),
            4 => input.truncate(at),
            _ => {
                let other = all.choose(random).cloned().unwrap_or_default();
                let from = random.random_range(0..=other.len());
                let most = random.random_range(0..=64).min(other.len() - from);
                input.splice(at..at, other[from..from + most].iter().copied());
            }
        }
    }
    input
}

fn feed(target: &str, bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    match target {
        "agent_config" => targets::agent_config::run(text),
        "btf" => targets::btf::run(bytes.split_at(bytes.len() / 2)),
        "events" => targets::events::run(bytes),
        "fault" => targets::fault::run(text),
        "ids" => targets::ids::run(text),
        "lldp" => targets::lldp::run(text),
        "localize" => targets::localize::run(text),
        "netlink" => targets::netlink::run((7, bytes)),
        "pods" => targets::pods::run(bytes),
        "registry" => targets::registry::run(bytes),
        "relay" => targets::relay::run(bytes),
        "roce_packet" => targets::roce_packet::run(bytes),
        "rule" => targets::rule::run(text),
        "scenario" => targets::scenario::run(text),
        "server_config" => targets::server_config::run(text),
        "session" => targets::session::run(bytes),
        "topology_import" => targets::topology_import::run(text),
        "upload" => targets::upload::run(bytes),
        "wire" => targets::wire::run(bytes),
        "wiring" => targets::wiring::run(text),
        other => panic!("{other} is not run here"),
    }
}

#[test]
fn every_target_takes_its_inputs_and_bent_ones() {
    for target in manifest() {
        let all = begins_with(&target);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let bent = (0..INPUTS).map(|_| bend(&mut random, &all));
        let bent: Vec<_> = bent.collect();
        for input in all.iter().chain(&bent) {
            let fed = std::panic::catch_unwind(|| feed(&target, input));
            assert!(
                fed.is_ok(),
                "{target} fails with {:?}",
                String::from_utf8_lossy(input)
            );
        }
    }
}
