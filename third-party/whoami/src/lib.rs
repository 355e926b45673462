//! Stands in for the crate `whoami`, of which tokio-postgres calls [`username`] where no user is configured. The real one links
//! two Apple frameworks, so that programs for macOS could not be linked on Linux. A store's URL always names its user.

use std::io;

/// The name of the user of the database; never known here.
///
/// # Errors
/// Always: the URL has to name the user.
pub fn username() -> io::Result<String> {
    let why = "the URL names no user: postgres://USER@HOST/DATABASE";
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}
