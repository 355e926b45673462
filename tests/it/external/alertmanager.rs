//! The real Alertmanager.

use super::server::Server;

const NOBODY: &str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";

#[test]
fn it_starts_on_loopback_with_storage_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::alertmanager(folder.path(), NOBODY, 0);
    assert!(server.address.ip().is_loopback());
}
