use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::codec::Encoded;
use super::*;

const LIMIT: u64 = 1 << 20;

/// Bytes that nothing compresses, with the number in front.
fn noise(sequence: u64, size: usize) -> Vec<u8> {
    use rand::{Rng as _, SeedableRng as _};
    let mut payload = sequence.to_le_bytes().to_vec();
    payload.resize(size, 0);
    rand_chacha::ChaCha8Rng::seed_from_u64(sequence).fill(&mut payload[8..]);
    payload
}

/// What the agent does with a batch that gets another number.
fn renumbered(sequence: u64, mut payload: Vec<u8>) -> Vec<u8> {
    payload[..8].copy_from_slice(&sequence.to_le_bytes());
    payload
}

async fn append(spool: &Spool, size: usize) -> Appended {
    spool
        .append(move |sequence| noise(sequence, size))
        .await
        .expect("appended")
}

async fn numbers(spool: &Spool, after: u64) -> Vec<u64> {
    let batches = spool.read(after, usize::MAX).await.expect("read");
    batches
        .iter()
        .map(|batch| {
            let number = batch.payload[..8].try_into().expect("eight bytes");
            assert_eq!(u64::from_le_bytes(number), batch.sequence);
            batch.sequence
        })
        .collect()
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("folder"),
        }
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    async fn open(&self) -> Spool {
        let location = Location::File(self.spool());
        Spool::open(&location, LIMIT).await.expect("spool")
    }

    /// Names in a folder that contain `part`.
    fn names(folder: &Path, part: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("folder")
            .map(|entry| {
                entry
                    .expect("entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .filter(|name| name.contains(part))
            .collect();
        names.sort();
        names
    }

    /// The files of batches.
    fn logs(&self) -> Vec<PathBuf> {
        let names = Self::names(&self.spool(), ".log");
        names.iter().map(|name| self.spool().join(name)).collect()
    }
}

#[tokio::test]
async fn what_is_not_acknowledged_survives_and_each_run_counts_for_itself() {
    let place = Place::new();
    let spool = place.open().await;
    let id = spool.id();
    for sequence in 1..=4 {
        assert_eq!(append(&spool, 100).await.sequence, sequence);
    }
    assert_eq!(spool.acknowledge(3).await.expect("acknowledged"), 1);
    drop(spool);

    let spool = place.open().await;
    assert_eq!(spool.id(), id);
    assert_eq!(numbers(&spool, 0).await, [4]);
    assert_eq!(spool.acknowledge(4).await.expect("acknowledged"), 0);
    drop(spool);

    let spool = place.open().await;
    let appended = append(&spool, 100).await;
    assert_eq!(
        (appended.sequence, appended.dropped, appended.waiting),
        (1, 0, 1)
    );
    assert_ne!(spool.id(), id);
    assert_eq!(numbers(&spool, 0).await, [1]);
    assert_eq!(spool.status(), Status::default());
}

#[tokio::test]
async fn the_oldest_go_when_the_limit_is_reached() {
    let spool = Spool::open(&Location::Memory, 10_000).await.expect("spool");
    let mut dropped = 0;
    for _ in 0..50 {
        let appended = append(&spool, 936).await;
        dropped += appended.dropped;
        assert!(appended.waiting <= 10);
    }
    assert_eq!(dropped, 40);
    assert_eq!(numbers(&spool, 0).await, (41..=50).collect::<Vec<_>>());
    let appended = append(&spool, 50_000).await;
    assert_eq!(
        (appended.dropped, appended.waiting),
        (10, 1),
        "the newest stays whatever its size"
    );
    spool.acknowledge(51).await.expect("acknowledged");
    let appended = append(&spool, 936).await;
    assert_eq!(
        (appended.sequence, appended.dropped, appended.waiting),
        (52, 0, 1)
    );
}

#[tokio::test]
async fn reading_stops_at_the_given_size_but_gives_at_least_one() {
    let spool = Spool::open(&Location::Memory, LIMIT).await.expect("spool");
    for _ in 0..5 {
        append(&spool, 1000).await;
    }
    assert_eq!(spool.read(1, 2500).await.expect("read").len(), 2);
    assert_eq!(spool.read(1, 10).await.expect("read").len(), 1);
    assert_eq!(spool.read(5, 10).await.expect("read"), []);
}

#[tokio::test]
async fn two_spools_have_two_identities_and_one_folder_one_owner() {
    let place = Place::new();
    let spool = place.open().await;
    let other = Spool::open(&Location::Memory, LIMIT).await.expect("spool");
    assert_ne!(spool.id(), other.id());
    let location = Location::File(place.spool());
    let error = Spool::open(&location, LIMIT).await.expect_err("locked");
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    let mode = fs::metadata(place.spool()).expect("folder").permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);
}

/// Files come and go: the folder stays small however much passes through, and reading goes on.
#[tokio::test]
async fn files_go_when_their_batches_are_acknowledged() {
    let place = Place::new();
    let spool = place.open().await;
    for sequence in 1..=400 {
        append(&spool, 1000).await;
        spool.acknowledge(sequence).await.expect("acknowledged");
        assert!(place.logs().len() <= 2);
    }
    // 400 kB went through files of 64 KiB.
    let last = place.logs().pop().expect("a file");
    assert!(
        last.to_string_lossy().ends_with("0000000007.log"),
        "{last:?}"
    );
}

#[tokio::test]
async fn damaged_bytes_cost_their_batch_alone_and_the_file_is_kept() {
    let place = Place::new();
    let spool = place.open().await;
    for _ in 0..5 {
        append(&spool, 1000).await;
    }
    // Under the running agent, in the body of the third batch.
    let file = place.logs().pop().expect("a file");
    let mut bytes = fs::read(&file).expect("file");
    bytes[2_600] ^= 1;
    fs::write(&file, &bytes).expect("file");
    assert_eq!(numbers(&spool, 0).await, [1, 2, 4, 5]);
    assert_eq!(spool.status().damaged, 1);
    drop(spool);

    // At the start.
    bytes[1_500] ^= 1;
    fs::write(&file, &bytes).expect("file");
    let spool = place.open().await;
    assert_eq!(numbers(&spool, 0).await, [1, 4, 5]);
    assert_eq!(spool.status().damaged, 2);
    append(&spool, 100).await;
    assert_eq!(spool.acknowledge(5).await.expect("acknowledged"), 1);
    assert_eq!(Place::names(&place.spool(), ".damaged-").len(), 1);
}

/// The deeds of `corrupt/agent.sh`: whatever is in the folder, the spool opens and takes batches.
#[tokio::test]
async fn garbage_is_renamed_and_the_spool_goes_on() {
    type Deed = fn(&Place, &Path);
    // With what it sets aside, and how many of three batches are left.
    let deeds: [(&str, Deed, u64, u64); 6] = [
        ("empty", |_, file| fs::write(file, "").expect("file"), 1, 0),
        (
            "text",
            |_, file| fs::write(file, "hi\n").expect("file"),
            1,
            0,
        ),
        (
            "header",
            |_, file| {
                let mut bytes = fs::read(file).expect("file");
                bytes[9] ^= 0x10;
                fs::write(file, bytes).expect("file");
            },
            1,
            0,
        ),
        (
            "cut off",
            |_, file| {
                let bytes = fs::read(file).expect("file");
                fs::write(file, &bytes[..bytes.len() - 300]).expect("file");
            },
            0,
            2,
        ),
        (
            "old database of text",
            |place, _| fs::write(place.folder.path().join("spool.sqlite"), "hi\n").expect("file"),
            1,
            3,
        ),
        (
            "a file in the place of the folder",
            |place, _| {
                fs::remove_dir_all(place.spool()).expect("removed");
                fs::write(place.spool(), "hi\n").expect("file");
            },
            1,
            0,
        ),
    ];
    for (what, deed, set_aside, left) in deeds {
        let place = Place::new();
        let spool = place.open().await;
        for _ in 0..3 {
            append(&spool, 1000).await;
        }
        drop(spool);
        let file = place.logs().pop().expect("a file");
        deed(&place, &file);
        let spool = place.open().await;
        let status = spool.status();
        assert_eq!(
            (status.set_aside, &status.trouble),
            (set_aside, &None),
            "{what}"
        );
        let appended = append(&spool, 1000).await;
        assert_eq!(
            (appended.sequence, appended.waiting),
            (1, left + 1),
            "{what}"
        );
        let kept = Place::names(&place.spool(), ".damaged-").len()
            + Place::names(place.folder.path(), ".damaged-").len();
        assert_eq!(kept as u64, set_aside, "{what}");
        if left > 0 {
            let old: Vec<_> = (1..=left).collect();
            assert_eq!(numbers(&spool, 0).await, old, "{what}");
            spool.acknowledge(left).await.expect("acknowledged");
            spool.begin().await.expect("spool");
        }
        assert_eq!(numbers(&spool, 0).await, [1], "{what}");
    }
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_left_alone() {
    let place = Place::new();
    drop(place.open().await);
    let file = place.spool().join("0000000001.log");
    let mut content = b"rpspool\x02".to_vec();
    content.extend([7; 16]);
    content.extend(crc32fast::hash(&content).to_le_bytes());
    fs::write(&file, &content).expect("file");
    let spool = place.open().await;
    assert_eq!(append(&spool, 100).await.sequence, 1);
    assert_eq!(fs::read(&file).expect("file"), content);
    assert_eq!(place.logs().len(), 2);
}

/// A folder that takes nothing: batches are kept in memory, and go to the disk when it works again.
#[tokio::test]
async fn while_the_disk_takes_nothing_batches_are_kept_in_memory() {
    let place = Place::new();
    // A file where the parent should be fails for every user, root too.
    let parent = place.folder.path().join("state");
    fs::write(&parent, "").expect("file");
    let location = Location::File(parent.join("spool"));
    let spool = Spool::open(&location, LIMIT).await.expect("spool");
    let id = spool.id();
    assert!(spool.status().trouble.is_some());
    for sequence in 1..=3 {
        assert_eq!(append(&spool, 1000).await.sequence, sequence);
    }
    assert_eq!(numbers(&spool, 0).await, [1, 2, 3]);
    assert_eq!(spool.acknowledge(1).await.expect("acknowledged"), 2);
    fs::remove_file(&parent).expect("removed");
    assert_eq!(append(&spool, 1000).await.waiting, 3);
    assert_eq!(spool.status().trouble, None);
    drop(spool);
    let spool = Spool::open(&location, LIMIT).await.expect("spool");
    assert_eq!(spool.id(), id);
    assert_eq!(numbers(&spool, 0).await, [2, 3, 4]);
}

/// The folder goes away under the agent, and comes back.
#[tokio::test]
async fn a_folder_that_vanishes_costs_no_batch_that_is_in_memory() {
    let place = Place::new();
    let spool = place.open().await;
    append(&spool, 1000).await;
    spool.acknowledge(1).await.expect("acknowledged");
    fs::remove_dir_all(place.spool()).expect("removed");
    fs::write(place.spool(), "").expect("file");
    append(&spool, 1000).await;
    assert!(spool.status().trouble.is_some());
    assert_eq!(numbers(&spool, 0).await, [2]);
    fs::remove_file(place.spool()).expect("removed");
    append(&spool, 1000).await;
    assert_eq!(spool.status().trouble, None);
    drop(spool);
    assert_eq!(numbers(&place.open().await, 0).await, [2, 3]);
}

/// Memory is bounded too; then the oldest go.
#[tokio::test]
async fn memory_has_the_spools_limit() {
    let place = Place::new();
    let file = place.folder.path().join("file");
    fs::write(&file, "").expect("file");
    let location = Location::File(file.join("spool"));
    let spool = Spool::open(&location, 10_000).await.expect("spool");
    let mut dropped = 0;
    for _ in 0..30 {
        dropped += append(&spool, 936).await.dropped;
    }
    assert_eq!(dropped, 20);
    assert_eq!(numbers(&spool, 0).await, (21..=30).collect::<Vec<_>>());
}

/// Results of a disk that came back are merged with what was there: each identity keeps its own.
#[tokio::test]
async fn what_an_earlier_run_left_is_uploaded_under_its_own_identity() {
    let place = Place::new();
    let spool = place.open().await;
    let old = spool.id();
    append(&spool, 1000).await;
    drop(spool);
    // The disk is away at the start.
    let hidden = place.folder.path().join("hidden");
    fs::rename(place.spool(), &hidden).expect("renamed");
    fs::write(place.spool(), "").expect("file");
    let location = Location::File(place.spool().join("spool"));
    let spool = Spool::open(&location, LIMIT).await.expect("spool");
    append(&spool, 1000).await;
    let new = spool.id();
    assert_ne!(old, new);
    fs::remove_file(place.spool()).expect("removed");
    fs::create_dir(place.spool()).expect("folder");
    fs::rename(&hidden, place.spool().join("spool")).expect("renamed");
    append(&spool, 1000).await;
    assert_eq!(spool.waiting().await.expect("spool"), 3);
    assert_eq!(
        numbers(&spool, 0).await,
        [1, 2],
        "an upload under way goes on"
    );
    assert_eq!(spool.begin().await.expect("spool"), old);
    assert_eq!(numbers(&spool, 0).await, [1]);
    spool.acknowledge(1).await.expect("acknowledged");
    assert!(spool.is_due_elsewhere().await.expect("spool"));
    assert_eq!(spool.begin().await.expect("spool"), new);
    assert_eq!(numbers(&spool, 0).await, [1, 2]);
    drop(spool);
    let spool = Spool::open(&location, LIMIT).await.expect("spool");
    assert_eq!(spool.id(), new);
    assert_eq!(append(&spool, 1000).await.waiting, 3);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("folder");
    for entry in fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// A backup of a running agent's spool is put back: the analyzer has numbers that the copy does not know.
#[tokio::test]
async fn a_restored_older_copy_is_recognised_and_loses_nothing() {
    let place = Place::new();
    let spool = place.open().await;
    let id = spool.id();
    for _ in 0..3 {
        append(&spool, 1000).await;
    }
    let backup = place.folder.path().join("backup");
    copy(&place.spool(), &backup);
    for _ in 0..25 {
        append(&spool, 1000).await;
    }
    assert!(spool.begun(0, renumbered).await.expect("begun"));
    assert_eq!(numbers(&spool, 0).await.len(), 28);
    spool.acknowledge(28).await.expect("acknowledged");
    drop(spool);

    fs::remove_dir_all(place.spool()).expect("removed");
    copy(&backup, &place.spool());
    let spool = place.open().await;
    assert_eq!(spool.id(), id);
    for sequence in 1..=37 {
        assert_eq!(append(&spool, 1000).await.sequence, sequence);
    }
    assert!(!spool.begun(28, renumbered).await.expect("begun"));
    assert_eq!(spool.status().rolled_back, 1);
    let fresh = spool.begin().await.expect("begin");
    assert_ne!(fresh, id);
    assert!(spool.begun(0, renumbered).await.expect("begun"));
    // 1 to 3 of the copy are the analyzer's.
    assert_eq!(numbers(&spool, 0).await, (1..=37).collect::<Vec<_>>());
    spool.acknowledge(30).await.expect("acknowledged");
    drop(spool);
    let spool = place.open().await;
    assert_eq!(spool.id(), fresh);
    assert_eq!(numbers(&spool, 0).await, (31..=37).collect::<Vec<_>>());
    assert_eq!(spool.status().rolled_back, 0, "said once");
}

/// The same while the analyzer is away, and the agent restarts before it comes back: what it has then given numbers to was never
/// sent.
#[tokio::test]
async fn an_older_copy_that_several_runs_went_on_with_loses_nothing() {
    let place = Place::new();
    let spool = place.open().await;
    append(&spool, 1000).await;
    let backup = place.folder.path().join("backup");
    copy(&place.spool(), &backup);
    for _ in 0..5 {
        append(&spool, 1000).await;
    }
    // The analyzer has these six.
    spool.acknowledge(6).await.expect("acknowledged");
    drop(spool);
    fs::remove_dir_all(place.spool()).expect("removed");
    copy(&backup, &place.spool());
    for _ in 0..2 {
        let spool = place.open().await;
        for _ in 0..10 {
            append(&spool, 1000).await;
        }
    }
    let spool = place.open().await;
    assert!(!spool.begun(6, renumbered).await.expect("begun"));
    let mut left = Vec::new();
    while spool.waiting().await.expect("spool") > 0 {
        spool.begin().await.expect("begin");
        assert!(spool.begun(0, renumbered).await.expect("begun"));
        let read = numbers(&spool, 0).await;
        spool.acknowledge(10).await.expect("acknowledged");
        left.push(read);
    }
    let ten: Vec<u64> = (1..=10).collect();
    assert_eq!(left, [ten.clone(), ten]);
}

/// The database of version 0.1 is taken over: identity, numbers and batches.
#[tokio::test]
async fn the_database_of_an_earlier_version_is_taken_over() {
    let place = Place::new();
    let file = place.folder.path().join("spool.sqlite");
    let batches: Vec<_> = (5..=9)
        .map(|sequence| (sequence, noise(sequence, 500)))
        .collect();
    crate::store::sqlite::spool::write(&file, 77, &batches);
    let spool = place.open().await;
    assert_eq!(spool.id(), 77);
    assert_eq!(numbers(&spool, 0).await, [5, 6, 7, 8, 9]);
    assert_eq!(append(&spool, 500).await.waiting, 6);
    assert!(!file.exists());
    drop(spool);
    assert_eq!(numbers(&place.open().await, 0).await, [5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn batches_are_small_on_disk_and_bounded_when_they_come_back() {
    let place = Place::new();
    let spool = place.open().await;
    spool
        .append(|_| b"leaf3-r0 spine1 ".repeat(10_000))
        .await
        .expect("appended");
    let file = place.logs().pop().expect("a file");
    assert!(fs::metadata(&file).expect("file").len() < 2_000);
    // A batch that comes out larger than any is refused, not unpacked.
    let bomb = Encoded::new(vec![0; LONGEST_PAYLOAD + 1]);
    assert!(bomb.compressed && bomb.bytes.len() < 10_000);
    let error = bomb.decode(LONGEST_PAYLOAD).expect_err("too large");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
